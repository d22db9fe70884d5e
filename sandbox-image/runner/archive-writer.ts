/**
 * The bytes of a tar archive (ustar, with pax headers for what ustar cannot say): headers, padding, end.
 *
 * Regular files and folders only, no owner, no time: the reader wants names and contents. Contents are the caller's to write.
 */

import { Buffer, byteLength } from "./intrinsics.ts";

const BLOCK_BYTES = 512;
const MAX_USTAR_NAME_BYTES = 100;
const MAX_USTAR_SIZE = 0o77777777777;
// eslint-disable-next-line no-control-regex -- ASCII is what a plain ustar name may hold
const ASCII = /^[\u0000-\u007f]*$/;

const TypeFlag = { file: "0", folder: "5", paxHeader: "x" } as const;

/** What ends an archive. */
export const ARCHIVE_END: Uint8Array = Buffer.alloc(2 * BLOCK_BYTES);

/** The header of a file, with a pax header in front where the name or the size needs one. */
export const fileHeader = (name: string, size: number): Uint8Array => header(name, size, TypeFlag.file);

/** The header of a folder. Its content are entries of their own. */
export const folderHeader = (name: string): Uint8Array => header(`${name}/`, 0, TypeFlag.folder);

function header(name: string, size: number, type: string): Uint8Array {
  const records: string[] = [];
  if (byteLength(name) > MAX_USTAR_NAME_BYTES || !ASCII.test(name)) records.push(paxRecord("path", name));
  if (size > MAX_USTAR_SIZE) records.push(paxRecord("size", String(size)));
  if (records.length === 0) return ustarBlock(name, size, type);

  const pax = Buffer.from(records.join(""));
  return Buffer.concat([
    ustarBlock("pax", pax.byteLength, TypeFlag.paxHeader),
    pax,
    Buffer.alloc(paddingBytes(pax.byteLength)),
    ustarBlock(name, size, type),
  ]);
}

/** Zero bytes that must follow contents of a size. */
export function paddingBytes(size: number): number {
  return (BLOCK_BYTES - (size % BLOCK_BYTES)) % BLOCK_BYTES;
}

/** `"<length> <key>=<value>\n"`, where the length counts its own digits too. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const restBytes = byteLength(rest);
  let digits = 1;
  while (String(restBytes + digits).length !== digits) digits += 1;
  return `${restBytes + digits}${rest}`;
}

function ustarBlock(name: string, size: number, type: string): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  block.write(name, 0, MAX_USTAR_NAME_BYTES, "utf8");
  writeOctal(block, 100, 8, 0o644);
  writeOctal(block, 108, 8, 0);
  writeOctal(block, 116, 8, 0);
  writeOctal(block, 124, 12, Math.min(size, MAX_USTAR_SIZE));
  writeOctal(block, 136, 12, 0);
  block.write("        ", 148, 8, "latin1");
  block.write(type, 156, 1, "latin1");
  block.write("ustar\u000000", 257, 8, "latin1");
  let checksum = 0;
  for (let index = 0; index < BLOCK_BYTES; index += 1) checksum += block[index] ?? 0;
  writeOctal(block, 148, 7, checksum);
  return block;
}

/** An octal number in a field, ended by a zero byte. */
function writeOctal(block: Buffer, offset: number, fieldBytes: number, value: number): void {
  block.write(`${value.toString(8).padStart(fieldBytes - 1, "0")}\0`, offset, fieldBytes, "latin1");
}
