/**
 * Files that are kept on the host (`persist`) as a means of attack: archives that the program forges itself, and what is planted in the
 * folder on the host.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import vm from "node:vm";

import { extract } from "tar-stream";

import { TestService } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";
import { RAW_SOCKET, TAR_BUILDER } from "./support/raw-socket.ts";

const MAX_FILES = 20;
const MAX_BYTES = 256 * 1024;
const LAYER = "the service's own reader and its steps through open folders";
const GOOD = 'tarFile("out/good", "good")';

let service: TestService;
const outside = (): string => path.join(service.workspace, "victim");

/** What an attacker hopes to find in the folder: links that lead out of it, and names that are taken. */
async function plant(folder: string, victim: string): Promise<void> {
  await rm(folder, { recursive: true, force: true });
  await rm(victim, { recursive: true, force: true });
  await mkdir(path.join(folder, "folder"), { recursive: true });
  await mkdir(victim);
  await writeFile(path.join(victim, "file"), "untouched");
  await symlink(victim, path.join(folder, "planted"));
  await symlink(path.join(victim, "file"), path.join(folder, "planted-file"));
  execFileSync("mkfifo", [path.join(folder, "fifo")]);
}
const PLANTED = ["fifo", "folder", "planted", "planted-file"];

/** What is new in the folder, with contents, and whether anything else was touched. */
async function findChanges(folder: string, victim: string): Promise<string> {
  const seen: string[] = [];
  for (const name of (await readdir(folder, { recursive: true })).sort()) {
    const found = await lstat(path.join(folder, name));
    if (PLANTED.includes(name)) {
      const kind = found.isFIFO() ? "fifo" : found.isSymbolicLink() ? "link" : found.isDirectory() ? "folder" : "file";
      if (kind !== { fifo: "fifo", folder: "folder", planted: "link", "planted-file": "link" }[name]) seen.push(`REPLACED ${name}`);
    } else if (name.startsWith("planted/")) continue;
    else if (found.isFile())
      seen.push(`${name}=${(await readFile(path.join(folder, name), "utf8")).slice(0, 40)} ${(found.mode & 0o7777).toString(8)}`);
    else seen.push(`${name} ${found.isDirectory() ? "folder" : "SPECIAL"}`);
  }
  for (const name of await readdir(victim)) {
    if (name !== "file" || (await readFile(path.join(victim, name), "utf8")) !== "untouched") seen.push(`VICTIM ${name}`);
  }
  return seen.join(", ");
}

/** Sends the archive in place of the runner. What came of it: changes on the host, and what the result says. */
async function keep(code: string, request: object = {}): Promise<string> {
  await plant(path.join(service.workspace, "out"), outside());
  const { persisted } = await service.run(`${RAW_SOCKET} ${code}`, { timeoutMs: 5000, ...request });
  const changes = await findChanges(path.join(service.workspace, "out"), outside());
  for (const escaped of ["escaped", "data/evil", "temp"]) await assert.rejects(lstat(path.join(service.workspace, escaped)), escaped);
  return `${changes} / ${persisted === null ? "null" : persisted.errors.map(({ error, path: at }) => `${at}: ${error}`).join(" | ")}`;
}

const keepTar = (tar: string, request: object = {}): Promise<string> => keep(`sendArchive(${tar});`, request);

/** What a receiver does that writes what it is told to. */
async function keepNaively(tar: string): Promise<string> {
  const root = await mkdtemp(path.join(tmpdir(), "cm-naive-"));
  await plant(path.join(root, "out"), path.join(root, "victim"));
  const bytes = vm.runInThisContext(`(Buffer) => { ${TAR_BUILDER} return ${tar}; }`)(Buffer) as Buffer;
  const seen: string[] = [];
  const reader = extract();
  reader.end(bytes);
  try {
    for await (const entry of reader) {
      const chunks: Buffer[] = [];
      for await (const chunk of entry) chunks.push(chunk as Buffer);
      const target = path.resolve(root, entry.header.name);
      if (!target.startsWith(path.join(root, "out"))) seen.push(`VICTIM ${target.slice(root.length)}`);
      if (!target.startsWith(root)) continue;
      await mkdir(path.dirname(target), { recursive: true });
      if (entry.header.type === "symlink") await symlink(entry.header.linkname, target);
      else if (entry.header.type === "file") {
        await writeFile(target, Buffer.concat(chunks));
        await chmod(target, entry.header.mode);
      } else seen.push(`SPECIAL ${entry.header.type}`);
    }
  } catch {
    seen.push("failed");
  }
  const changes = await findChanges(path.join(root, "out"), path.join(root, "victim"));
  await rm(root, { recursive: true });
  return [changes, ...seen].join(", ");
}

describe("Security: tampering with files that are kept", () => {
  before(async () => {
    service = await TestService.start({
      runtimes: {
        node: {
          permissions: { fileSystem: { read: ["./data"], write: ["./temp", { path: "./out", persist: true }] } },
          limits: { persistFiles: MAX_FILES, persistBytes: MAX_BYTES, outputFiles: 5, tempBytes: "4MB" },
        },
        plain: { permissions: { fileSystem: { write: ["./out"] } } },
      },
      prepare: async (workspace) => {
        await mkdir(path.join(workspace, "out"));
      },
    });
  });
  after(async () => {
    await rm(path.join(service.workspace, "out"), { recursive: true });
    await service.close();
  });

  const accepted = { run: () => keepTar(`Buffer.concat([${GOOD}, tarEnd])`), shows: "good=good 644 / " };
  const naive = (tar: string, shows: RegExp): { run: () => Promise<string>; shows: RegExp } => ({ run: () => keepNaively(tar), shows });
  const only = (entries: string): string => `Buffer.concat([${entries}, ${GOOD}, tarEnd])`;

  interface Forged {
    readonly name: string;
    readonly tar: string;
    readonly gives: string | RegExp;
    /** What a receiver that writes what it is told to makes of it; default: the forged archive is taken where it is fine. */
    readonly naive?: RegExp;
  }
  const forged: readonly Forged[] = [
    {
      name: "a name that climbs",
      tar: only('tarFile("out/../../escaped")'),
      gives: /^good=good 644 \/ "out\/..\/..\/escaped": the name contains/,
      naive: /VICTIM/,
    },
    {
      name: "an absolute name",
      tar: only('tarFile("/tmp/cm-escaped")'),
      gives: /^good=good 644 \/ .*the name is absolute/,
      naive: /VICTIM/,
    },
    {
      name: "a name with a NUL",
      tar: only('pax(paxRecord("path", "out/a\\0b")), tarFile("x")'),
      gives: /^good=good 644 \/ "out\/a\\u0000b": the name holds a control character/,
    },
    {
      name: "names that are too long",
      tar: only(
        `pax(paxRecord("path", "out/${"n".repeat(300)}")), tarFile("x"), pax(paxRecord("path", "out/${"d/".repeat(900)}f")), tarFile("x")`,
      ),
      gives: /^good=good 644 \/ .*longer than 255 bytes \| .*longer than 1024 bytes/,
    },
    {
      name: "more folders than anybody opens",
      tar: only(`pax(paxRecord("path", "out/${"d/".repeat(100)}f")), tarFile("x")`),
      gives: /^good=good 644 \/ .*more than 64 folders deep/,
    },
    {
      name: "a link, and a file through it",
      tar: only('tarHeader({ name: "out/link", type: "2", linkname: "../victim" }), tarFile("out/link/evil", "x")'),
      gives: "good=good 644, link folder, link/evil=x 644 / out/link: is no regular file but a symlink",
      naive: /VICTIM evil/,
    },
    {
      name: "a file through a link that is there already",
      tar: only('tarFile("out/planted/evil", "x")'),
      gives: "good=good 644 / out/planted/evil: something that is no folder stands there on the host",
      naive: /VICTIM evil/,
    },
    {
      name: "a file in place of a link that is there already",
      tar: only('tarFile("out/planted-file", "evil")'),
      gives: "good=good 644 / out/planted-file: something that is no regular file stands there on the host",
      naive: /VICTIM file/,
    },
    {
      name: "a file where a folder or a FIFO stands",
      tar: only('tarFile("out/folder", "x"), tarFile("out/fifo", "x")'),
      gives: /^good=good 644 \/ out\/(folder|fifo): something that is no regular file .* \| out\/(folder|fifo): something/,
    },
    {
      name: "links, devices and FIFOs",
      tar: only('...["1", "2", "3", "4", "6", "7"].map((type) => tarHeader({ name: "out/" + type, type, linkname: "/etc/passwd" }))'),
      gives:
        /^good=good 644 \/ out\/1: .*a link \| out\/2: .*symlink \| out\/3: .*character-device \| out\/4: .*block-device \| out\/6: .*fifo \| out\/7/,
      naive: /SPECIAL/,
    },
    {
      name: "a folder with a content",
      tar: only('tarFile("out/d/", "x", { type: "5" })'),
      gives: "good=good 644 / out/d: is a folder with a content of its own",
    },
    {
      name: "entries outside the folders that are kept",
      tar: only('tarFile("data/evil"), tarFile("temp/x"), tarFile("out"), tarFile("outer/x"), tarHeader({ name: "temp/", type: "5" })'),
      gives: /^good=good 644 \/ data\/evil: lies outside .* \| temp\/x: lies .* \| out: lies .* \| outer\/x: lies .* \| temp: lies outside/,
      naive: /VICTIM \/data\/evil/,
    },
    {
      name: "the same name twice, and names that differ in case or composition only",
      tar: only(
        'tarFile("out/a", "1"), tarFile("out/./a", "2"), tarFile("out/A", "3"), tarFile("out/D/x"), tarFile("out/d/y"), tarFile("out/caf\\u00e9"), tarFile("out/cafe\\u0301")',
      ),
      gives:
        /^D folder, D\/x=x 644, a=1 644, caf.=x 644, good=good 644 \/ out\/a: is there twice \| out\/A: .* "out\/a" in case only \| out\/d\/y: .* \| out\/caf..: has a name that differs from/,
      naive: /a=2 /,
    },
    {
      name: "a file that is a folder too",
      tar: only('tarFile("out/f", "1"), tarFile("out/f/x"), tarFile("out/g/x"), tarFile("out/g", "2")'),
      gives:
        /^f=1 644, g folder, g\/x=x 644, good=good 644 \/ out\/f\/x: lies in "out\/f", which is a file \| out\/g: is there as a file and as a folder$/,
    },
    {
      name: "names of the service's own",
      tar: only('tarFile("out/.code-mode-exe_x-0/0"), tarFile("out/deep/.code-mode-x")'),
      gives: /^good=good 644 \/ .*has a name that begins with \.code-mode- \| .*begins/,
    },
    {
      name: "modes with set-user-id, and to be executed",
      tar: `(() => { const header = tarHeader({ name: "out/suid", size: 1 }); header.write("0006777\\0        ", 100); header.write("        ", 148);
        let sum = 0; for (const byte of header) sum += byte; header.write(sum.toString(8).padStart(6, "0") + "\\0 ", 148); return Buffer.concat([header, padded(Buffer.from("x")), ${GOOD}, tarEnd]); })()`,
      gives: "good=good 644, suid=x 644 / ",
      naive: /suid=x 6777/,
    },
    {
      name: "more files than the cap",
      tar: `Buffer.concat(Array.from({ length: 21 }, (_, index) => tarFile("out/" + index)))`,
      gives: /^ \/ \*: nothing was kept: there are more than 20/,
    },
    {
      name: "a million entries",
      tar: `(() => { const one = tarHeader({ name: "out/x", type: "5" }); return Buffer.concat(Array(300_000).fill(one)); })()`,
      gives: /^ \/ \*: nothing was kept: /,
    },
    {
      name: "more bytes than the cap",
      tar: `Buffer.concat([${GOOD}, tarFile("out/large", "x".repeat(300_000)), tarEnd])`,
      gives: /^ \/ \*: nothing was kept: .*larger than 262144 bytes/,
    },
    {
      name: "eight gigabytes that never come",
      tar: `Buffer.concat([${GOOD}, tarHeader({ name: "out/huge", sizeField: "77777777777\\0" })])`,
      gives: /^ \/ \*: nothing was kept: /,
    },
    {
      name: "a size that lies",
      tar: `Buffer.concat([pax(paxRecord("size", "1024")), tarFile("out/a", "a"), ${GOOD}, tarEnd])`,
      gives: /^ \/ \*: nothing was kept: the archive of the files to keep is damaged$/,
    },
    {
      name: "an archive that breaks off",
      tar: `Buffer.concat([${GOOD}, tarFile("out/a", "x".repeat(5000)).subarray(0, 1000)])`,
      gives: /^ \/ \*: .*damaged$/,
    },
    { name: "no archive", tar: 'Buffer.alloc(10_000, "garbage")', gives: /^ \/ \*: .*damaged$/ },
  ];
  for (const { gives, naive: shows, name, tar } of forged) {
    attack({ name, layer: LAYER, without: shows === undefined ? accepted : naive(tar, shows), within: { run: () => keepTar(tar), gives } });
  }

  const ARCHIVE = `Buffer.concat([${GOOD}, tarEnd])`;
  for (const [name, code, request, gives] of [
    ["files where the runtime keeps none", `sendArchive(${ARCHIVE});`, { runtime: "plain" }, " / null"],
    ["files where the request gave that up", `sendArchive(${ARCHIVE});`, { permissions: { fileSystem: { write: ["out"] } } }, " / null"],
    [
      "files of the folder above the one that the request asks for",
      `sendArchive(Buffer.concat([${GOOD}, tarFile("out/sub/x"), tarEnd]));`,
      { permissions: { fileSystem: { write: [{ path: "out/sub", persist: true }] } } },
      "sub folder, sub/x=x 644 / out/good: lies outside the folders that are kept",
    ],
    [
      "a program that goes on after it sent its files",
      `write(finished(1)); readMessage(); write(frame(2, ${ARCHIVE})); for (;;);`,
      { timeoutMs: 1000 },
      " / *: nothing was kept: the program ended before all of its files were sent",
    ],
    [
      "a program that ends after it sent its files",
      `write(finished(1)); readMessage(); write(frame(2, ${ARCHIVE})); leave();`,
      {},
      " / *: nothing was kept: the program ended before all of its files were sent",
    ],
    [
      "files before the result",
      `write(frame(2, ${ARCHIVE})); for (;;);`,
      {},
      " / out: nothing was kept: the program did not end by itself, or its process was gone",
    ],
    [
      "a report of files left out that is none",
      `write(finished(1)); readMessage(); write(frame(2, ${ARCHIVE})); write(rpc("archived", { skipped: [] })); leave();`,
      {},
      " / *: nothing was kept: the program ended before all of its files were sent",
    ],
    [
      "files of the second archive in place of the first",
      `write(finished(1)); readMessage(); write(rpc("archived", { skipped: [], counts: { not_a_file: 0, over_limit: 0, unreadable: 0 } })); write(frame(2, ${ARCHIVE})); leave();`,
      { outputFiles: ["temp/**"] },
      " / ",
    ],
  ] as const) {
    attack({ name, layer: LAYER, without: accepted, within: { run: () => keep(code, request), gives } });
  }

  it("a flood of entries does not hold the service up", async () => {
    let longestMs = 0;
    let last = performance.now();
    // The service runs in this process: what blocks it delays this timer.
    const watch = setInterval(() => {
      longestMs = Math.max(longestMs, performance.now() - last);
      last = performance.now();
    }, 5);
    const flood =
      'write(finished(1)); readMessage(); const folders = Buffer.concat(Array(4000).fill(tarHeader({ name: "out/" + "x/".repeat(40), type: "5" })));';
    await keep(`${flood} for (let n = 0; n < 20; n++) write(frame(2, folders)); leave();`).finally(() => clearInterval(watch));
    assert.ok(longestMs < 500, `blocked for ${longestMs} ms`);
  });
});
