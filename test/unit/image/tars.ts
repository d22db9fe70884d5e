/**
 * Tars and package folders for the tests of the sandbox image.
 */

import { cp, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type Header, pack } from "tar-stream";

export type TarEntry = Partial<Header> & { readonly name: string; readonly content?: string | Buffer };

/** A tar of these entries, in this order. */
export function tarOf(...entries: readonly TarEntry[]): Readable {
  const tar = pack();
  for (const { content, ...header } of entries) {
    if (content === undefined) tar.entry(header);
    else tar.entry(header, content);
  }
  tar.finalize();
  return Readable.from(tar);
}

/** The folder of a package with this one's `sandbox-image` and stand-ins for what the build makes. The caller removes it. */
export async function makePackageRoot(): Promise<string> {
  const root = await mkdtemp(join(tmpdir(), "code-mode-test-image-"));
  const own = join(import.meta.dirname, "..", "..", "..", "sandbox-image");
  await mkdir(join(root, "sandbox-image"));
  for (const name of ["Dockerfile", "base.Dockerfile", "node.json", "etc"]) {
    await cp(join(own, name), join(root, "sandbox-image", name), { recursive: true });
  }
  await mkdir(join(root, "dist", "sandbox-image"), { recursive: true });
  await writeFile(join(root, "dist", "sandbox-image", "runner.cjs"), "console.log('runner');\n");
  await writeFile(join(root, "dist", "sandbox-image", "typescript.cjs"), "module.exports = {};\n");
  return root;
}

export interface ElfOptions {
  readonly type: "object" | "executable" | "shared";
  /** Marked by its linker as a program. */
  readonly isPie?: boolean;
  readonly isBigEndian?: boolean;
  /** Bytes at the end, to tell one from another. */
  readonly marker?: string;
}

/** The start of a 64-bit ELF file, with a dynamic section. */
export function elf({ isBigEndian = false, isPie = false, marker = "", type }: ElfOptions): Buffer {
  const header = Buffer.alloc(64 + 56 + 32);
  header.write("\x7fELF\x02", "latin1");
  const number = { object: 1, executable: 2, shared: 3 }[type];
  header[5] = isBigEndian ? 2 : 1;
  if (isBigEndian) header.writeUInt16BE(number, 16);
  else header.writeUInt16LE(number, 16);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(1, 56);
  // The segment of the dynamic section, and in that the flags.
  header.writeUInt32LE(2, 64);
  header.writeBigUInt64LE(120n, 64 + 8);
  header.writeBigUInt64LE(32n, 64 + 32);
  header.writeBigUInt64LE(0x6fff_fffbn, 120);
  header.writeBigUInt64LE(isPie ? 0x0800_0001n : 1n, 128);
  return Buffer.concat([header, Buffer.from(marker)]);
}
