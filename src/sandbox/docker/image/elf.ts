/**
 * A look at ELF headers: what could be run as a program, even without the right to execute it, by handing it to the loader.
 *
 * A shared library is mapped into a program that runs already, and needs nothing but to be readable. So libraries stay in the image as
 * data, while a program must not be there unless it may be run.
 */

const MAGIC = Buffer.from([0x7f, 0x45, 0x4c, 0x46]);
const HEADER_BYTES = 64;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const TYPE_EXECUTABLE = 2;
/** Position-independent: a library, or a program. */
const TYPE_SHARED = 3;
const SEGMENT_DYNAMIC = 2;
const TAG_END = 0n;
const TAG_FLAGS_1 = 0x6fff_fffbn;
const FLAG_1_PIE = 0x0800_0000n;

/** `libz.so`, `libz.so.1.2`, `binding.node`. */
const LIBRARY_NAME = /\.(so(\.[\w.+-]+)?|node)$/;

const isElf = (content: Buffer): boolean => content.length >= HEADER_BYTES && content.subarray(0, MAGIC.length).equals(MAGIC);

export const isLibraryName = (path: string): boolean => LIBRARY_NAME.test(path);

/** Whether the loader would run it. Position-independent files are libraries by name, unless their linker marked them as programs. */
export function isElfProgram(path: string, content: Buffer): boolean {
  if (!isElf(content)) return false;
  const isLittleEndian = content[5] === LITTLE_ENDIAN;
  const type = isLittleEndian ? content.readUInt16LE(16) : content.readUInt16BE(16);
  if (type === TYPE_EXECUTABLE) return true;
  if (type !== TYPE_SHARED) return false;
  if (!isLibraryName(path)) return true;
  return content[4] === CLASS_64 && isLittleEndian && isMarkedAsProgram(content);
}

function isMarkedAsProgram(content: Buffer): boolean {
  const tableOffset = Number(content.readBigUInt64LE(32));
  const entryBytes = content.readUInt16LE(54);
  const count = content.readUInt16LE(56);
  for (let index = 0; index < count; index += 1) {
    const at = tableOffset + index * entryBytes;
    if (entryBytes < 56 || at + 56 > content.length) return false;
    if (content.readUInt32LE(at) !== SEGMENT_DYNAMIC) continue;
    const start = Number(content.readBigUInt64LE(at + 8));
    const end = Math.min(start + Number(content.readBigUInt64LE(at + 32)), content.length - 16);
    for (let entry = start; entry <= end; entry += 16) {
      const tag = content.readBigUInt64LE(entry);
      if (tag === TAG_END) break;
      if (tag === TAG_FLAGS_1) return (content.readBigUInt64LE(entry + 8) & FLAG_1_PIE) !== 0n;
    }
  }
  return false;
}
