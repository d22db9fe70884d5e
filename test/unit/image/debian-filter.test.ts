import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { DebianFilter, type DebianWanted } from "../../../src/sandbox/docker/image/debian-filter.ts";
import type { ImageEntry } from "../../../src/sandbox/docker/image/image-entries.ts";
import { type TarEntry, tarOf } from "./tars.ts";

const AMD64: DebianWanted = { architecture: "amd64", libraries: ["libc.so.6", "libstdc++.so.6"], packages: ["libc6", "libstdc++6"] };

const link = (name: string, linkname: string): TarEntry => ({ name, type: "symlink", linkname });
const file = (name: string, mode = 0o755): TarEntry => ({ name, mode, content: name });

/** As in Debian 12, where the packages still name /lib. */
const LIBC = [
  file("./lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
  file("./lib/x86_64-linux-gnu/libc.so.6"),
  link("./lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
  file("./usr/share/doc/libc6/copyright"),
];
const LIBSTDCXX = [
  link("./usr/lib/x86_64-linux-gnu/libstdc++.so.6", "libstdc++.so.6.0.30"),
  file("./usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30"),
  link("./usr/share/doc/libstdc++6", "gcc-12-base"),
  file("./usr/share/doc/gcc-12-base/copyright"),
];

async function filtered(wanted: DebianWanted, ...tars: readonly (readonly TarEntry[])[]): Promise<ImageEntry[]> {
  const filter = new DebianFilter(wanted);
  for (const entries of tars) await filter.add(tarOf(...entries));
  return filter.entries().sort((a, b) => (a.path < b.path ? -1 : 1));
}

const paths = (entries: readonly ImageEntry[]): string[] => entries.map((entry) => entry.path);

describe("Sandbox image: picking Debian's files", () => {
  it("takes the libraries with the links to them, the loader and the copyright notes", async () => {
    assert.deepEqual(
      (await filtered(AMD64, LIBC, LIBSTDCXX)).map((entry) => [entry.path, entry.type === "symlink" ? entry.target : entry.mode]),
      [
        ["lib", "usr/lib"],
        ["lib64", "usr/lib64"],
        ["usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", 0o711],
        ["usr/lib/x86_64-linux-gnu/libc.so.6", 0o644],
        ["usr/lib/x86_64-linux-gnu/libstdc++.so.6", "libstdc++.so.6.0.30"],
        ["usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30", 0o644],
        ["usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"],
        ["usr/share/doc/gcc-12-base/copyright", 0o644],
        ["usr/share/doc/libc6/copyright", 0o644],
        ["usr/share/doc/libstdc++6", "gcc-12-base"],
      ],
    );
  });

  it("keeps the contents", async () => {
    const libc = (await filtered(AMD64, LIBC, LIBSTDCXX)).find((entry) => entry.path.endsWith("/libc.so.6"));
    assert.equal(libc?.type === "file" && libc.content.toString(), "./lib/x86_64-linux-gnu/libc.so.6");
  });

  it("gives the same for the merged layout, with links before what they lead to, and in one tar", async () => {
    const merged = [...LIBC, ...LIBSTDCXX].map((entry) => ({ ...entry, name: entry.name.replace(/^\.\/(lib(64)?\/)/, "usr/$1") }));
    const roots = [link("lib", "usr/lib"), link("lib64", "usr/lib64")];
    assert.deepEqual(paths(await filtered(AMD64, [...roots, ...merged.reverse()])), paths(await filtered(AMD64, LIBSTDCXX, LIBC)));
  });

  it("leaves out everything else", async () => {
    const others = [
      file("./bin/sh"),
      file("./usr/bin/dpkg"),
      file("./usr/bin/su", 0o4755),
      file("./usr/share/doc/libc6/changelog.gz"),
      file("./usr/share/doc/tar/copyright"),
      file("./usr/share/locale/de/LC_MESSAGES/libc.mo"),
      file("./usr/lib/x86_64-linux-gnu/gconv/libc.so.6"),
      file("./usr/lib/i386-linux-gnu/libc.so.6"),
      file("./lib/x86_64-linux-gnu/libcap.so.2"),
      file("./lib/x86_64-linux-gnu/libc_malloc_debug.so.0"),
      link("./lib/x86_64-linux-gnu/libc.so", "/etc/passwd"),
      { name: "./dev/null", type: "character-device" } as const,
      { name: "./lib/x86_64-linux-gnu/libc-fifo.so.6", type: "fifo" } as const,
    ];
    assert.deepEqual(paths(await filtered(AMD64, others, LIBC, LIBSTDCXX)), paths(await filtered(AMD64, LIBC, LIBSTDCXX)));
  });

  it("finds the loader where arm64 has it, and makes no lib64 there", async () => {
    const entries = await filtered({ architecture: "arm64", libraries: ["libc.so.6"], packages: [] }, [
      file("./lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"),
      file("./lib/aarch64-linux-gnu/libc.so.6"),
      link("./lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld-linux-aarch64.so.1"),
    ]);
    assert.deepEqual(paths(entries), [
      "lib",
      "usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1",
      "usr/lib/aarch64-linux-gnu/libc.so.6",
      "usr/lib/ld-linux-aarch64.so.1",
    ]);
  });

  it("does without copyright notes that a slimmed-down file system lacks", async () => {
    const slim = [...LIBC, ...LIBSTDCXX].filter((entry) => !entry.name.includes("/doc/"));
    assert.ok(!paths(await filtered(AMD64, slim)).some((path) => path.includes("/doc/")));
  });

  it("refuses packages without a library that is wanted, and names it", async () => {
    await assert.rejects(filtered(AMD64, LIBC), { reason: "debian_incomplete", message: /libstdc\+\+\.so\.6/ });
  });

  it("refuses links that lead in a circle, out of the libraries, or nowhere", async () => {
    for (const target of ["libstdc++.so.6", "/etc/passwd", "../../../../etc/passwd", "libstdc++.so.7"]) {
      const broken = link("./usr/lib/x86_64-linux-gnu/libstdc++.so.6", target);
      await assert.rejects(filtered(AMD64, LIBC, [file("./etc/passwd"), broken]), { reason: "debian_incomplete" });
    }
  });

  it("refuses a C library that looks up names through modules", async () => {
    const old = [
      ...LIBC.filter((entry) => !entry.name.endsWith("libc.so.6")),
      link("./lib/x86_64-linux-gnu/libc.so.6", "libc-2.31.so"),
      file("./lib/x86_64-linux-gnu/libc-2.31.so"),
    ];
    await assert.rejects(filtered(AMD64, old, LIBSTDCXX), { reason: "debian_incomplete", message: /older than version 2\.34/ });
  });

  it("refuses a tar that breaks off", async () => {
    const whole = Buffer.concat(await tarOf(...LIBC).toArray());
    await assert.rejects(new DebianFilter(AMD64).add(Readable.from([whole.subarray(0, 700)])), /Unexpected end of data/);
  });
});
