import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { isElfProgram } from "../../../src/sandbox/docker/image/elf.ts";
import { elf } from "./tars.ts";

describe("Sandbox image: what the loader would run", () => {
  for (const [what, path, content, expected] of [
    ["a program at a fixed place", "usr/bin/x", elf({ type: "executable" }), true],
    ["one with the name of a library", "usr/lib/libx.so.1", elf({ type: "executable" }), true],
    ["a position-independent program", "usr/lib/x/helper", elf({ type: "shared" }), true],
    ["one with the name of a library, marked by its linker", "usr/lib/libx.so", elf({ type: "shared", isPie: true }), true],
    ["a library", "usr/lib/libx.so.1.2.3", elf({ type: "shared" }), false],
    ["a library without a number", "usr/lib/libx-1.2.so", elf({ type: "shared" }), false],
    ["a native add-on", "node_modules/x/build/x.node", elf({ type: "shared" }), false],
    ["an object file", "usr/lib/crt1.o", elf({ type: "object" }), false],
    ["a program for another processor", "usr/bin/x", elf({ type: "executable", isBigEndian: true }), true],
    ["a text", "usr/bin/x", Buffer.from("#!/bin/sh\n".padEnd(100)), false],
    ["too little to be a program", "usr/bin/x", elf({ type: "executable" }).subarray(0, 40), false],
  ] as const) {
    it(`${what}: ${expected}`, () => {
      assert.equal(isElfProgram(path, content), expected);
    });
  }

  it("knows this machine's own", async () => {
    assert.equal(isElfProgram("usr/bin/node", await readFile(process.execPath)), true);
    const report = process.report.getReport() as unknown as { sharedObjects: string[] };
    const library = report.sharedObjects.find((file) => file.includes("/libc.so"));
    if (library !== undefined) assert.equal(isElfProgram(library, await readFile(library)), false);
  });

  it("reads whatever comes after the magic number without failing", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 400 }), fc.constantFrom("a", "a.so"), (bytes, path) => {
        isElfProgram(path, Buffer.concat([Buffer.from([0x7f, 0x45, 0x4c, 0x46, 2, 1]), bytes]));
      }),
      { numRuns: 2000 },
    );
  });
});
