/**
 * Tars and package folders for the tests of the sandbox image.
 */

import { cp, mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { type Header, pack } from "tar-stream";

export type TarEntry = Partial<Header> & { readonly name: string; readonly content?: string };

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
