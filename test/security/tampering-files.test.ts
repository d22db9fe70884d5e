/**
 * Files as a means of attack: archives of output files that the program forges itself, links and other things that it plants for the
 * runner to find, files that change while they are read, and names.
 */

import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import vm from "node:vm";

import { extract } from "tar-stream";

import type { Execution, OutputFile } from "../../src/domain/execution.ts";
import { TestService } from "../helpers/service.ts";
import type { ErrorBody } from "../helpers/service.ts";
import { attack } from "./support/attack.ts";
import { RAW_SOCKET, TAR_BUILDER } from "./support/raw-socket.ts";

const TIMEOUT_MS = 5000;
const MAX_FILES = 20;
const MAX_BYTES = 256 * 1024;
/** With the wait for the last output of a program that does not end. */
const LATEST_MS = TIMEOUT_MS + 4000;

let service: TestService;
async function run(code: string, request: object = {}): Promise<Execution> {
  const execution = await service.run(code, { timeoutMs: TIMEOUT_MS, outputFiles: ["temp/**"], ...request });
  assert.ok(execution.usage.runMs < LATEST_MS, `ran ${execution.usage.runMs} ms`);
  const kept = execution.files.filter((file) => "content" in file);
  assert.ok(kept.length <= MAX_FILES && kept.reduce((sum, file) => sum + file.size, 0) <= MAX_BYTES, "over the caps");
  for (const file of kept) assert.match(file.path, /^temp\/./);
  // eslint-disable-next-line no-control-regex -- that is what must not be there
  for (const file of execution.files) assert.doesNotMatch(file.path, /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/);
  return execution;
}

const shown = (files: readonly OutputFile[]): string =>
  files.map((file) => `${file.path}: ${"error" in file ? file.error : file.content}`).join(" | ");

/** A tar of the program's own making, sent as the runner would send its own. */
const sendTar = async (tar: string, request: object = {}): Promise<string> =>
  shown((await run(`${RAW_SOCKET} sendArchive(${tar});`, request)).files);

const buildTar = (tar: string): Buffer => vm.runInThisContext(`(Buffer) => { ${TAR_BUILDER} return ${tar}; }`)(Buffer) as Buffer;

/** What a receiver does that writes what it is told to, in a folder of its own. Says what came to be outside of the folder, or in it. */
async function extractNaively(tar: string): Promise<string> {
  const folder = await mkdtemp(path.join(tmpdir(), "cm-naive-"));
  const root = path.join(folder, "root");
  await mkdir(path.join(root, "temp"), { recursive: true });
  await mkdir(path.join(folder, "victim"));
  const seen: string[] = [];
  const entries = extract();
  entries.on("entry", (header, content, next) => {
    const target = path.resolve(root, header.name);
    const chunks: Buffer[] = [];
    content.on("data", (chunk) => chunks.push(chunk as Buffer));
    content.on("end", () => {
      void (async () => {
        if (!target.startsWith(folder)) {
          seen.push(`outside: ${target}`);
          next();
          return;
        }
        await mkdir(path.dirname(target), { recursive: true });
        if (header.type === "symlink") await symlink(header.linkname, target);
        else if (header.type === "file") await writeFile(target, Buffer.concat(chunks));
        if (header.type === "file" && target.startsWith(root))
          seen.push(`inside: ${path.relative(root, target)}=${Buffer.concat(chunks).toString()}`);
        next();
      })();
    });
  });
  try {
    await new Promise<void>((resolve, reject) => entries.on("finish", resolve).on("error", reject).end(buildTar(tar)));
    for (const victim of ["escaped", "victim/file"]) {
      const content = await readFile(path.join(folder, victim), "utf8").catch(() => undefined);
      if (content !== undefined) seen.push(`outside: ${victim}`);
    }
    return seen.join(" | ");
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe("Security: tampering through files", () => {
  before(async () => {
    service = await TestService.start({
      runtimes: {
        node: {
          permissions: { fileSystem: { read: ["./data"], write: ["./temp"] } },
          limits: { outputFiles: MAX_FILES, outputFileBytes: MAX_BYTES, tempBytes: "4MB" },
        },
      },
    });
  });
  after(() => service.close());

  describe("Security: tampering with the archive of output files", () => {
    const GOOD = 'tarFile("temp/good", "good")';
    const DAMAGED = "*: the archive of the output files is damaged";
    const accepted = {
      run: () => sendTar(`Buffer.concat([${GOOD}, tarEnd])`),
      shows: "temp/good: good",
    };
    const naive = (tar: string, shows: string | RegExp) => ({ run: () => extractNaively(tar), shows });

    interface Forged {
      readonly name: string;
      readonly tar: string;
      readonly gives: string | RegExp;
      /** What a receiver that writes what it is told to makes of it; default: the forged archive is taken where it is fine. */
      readonly naive?: string | RegExp;
      readonly request?: object;
    }
    const forged: readonly Forged[] = [
      {
        name: "a name that climbs",
        tar: 'Buffer.concat([tarFile("temp/../../escaped"), tarEnd])',
        gives: /^"temp\/..\/..\/escaped": the name contains/,
        naive: "outside: escaped",
      },
      {
        name: "an absolute name",
        tar: 'Buffer.concat([tarFile("/etc/cron.d/x"), tarEnd])',
        gives: /: the name is absolute/,
        naive: "outside: /etc/cron.d/x",
      },
      {
        name: "a link, and a file through it",
        tar: `Buffer.concat([tarHeader({ name: "temp/link", type: "2", linkname: "../../victim" }), tarFile("temp/link/file", "through"), tarEnd])`,
        gives: "temp/link: is no regular file but a symlink | temp/link/file: through",
        naive: /outside: victim\/file/,
      },
      {
        name: "a name in an extended header",
        tar: 'Buffer.concat([pax(paxRecord("path", "../escaped")), tarFile("temp/fine"), tarEnd])',
        gives: /^"..\/escaped": the name contains/,
        naive: "outside: escaped",
      },
      {
        name: "a file that was not asked for",
        tar: `Buffer.concat([${GOOD}, tarFile("temp/.bashrc", "evil"), tarEnd])`,
        gives: "temp/good: good | temp/.bashrc: was not asked for",
        naive: /temp\/.bashrc=evil/,
        request: { outputFiles: ["temp/g*"] },
      },
      {
        name: "the same name twice",
        tar: 'Buffer.concat([tarFile("temp/a", "first"), tarFile("temp/./a", "second"), tarEnd])',
        gives: "temp/a: first",
        naive: /second/,
      },
      {
        name: "a second archive behind the first",
        tar: `Buffer.concat([${GOOD}, tarEnd, tarFile("temp/hidden"), tarEnd])`,
        gives: `temp/good: good | ${DAMAGED}`,
        naive: /temp\/hidden/,
      },
      {
        name: "a GNU long name",
        tar: 'Buffer.concat([tarFile("././@LongLink", "../escaped\\0", { type: "L" }), tarFile("temp/fine", "fine"), tarEnd])',
        gives: '@LongLink: is no regular file but a thing of type "L" | temp/fine: fine',
        naive: "outside: escaped",
        request: { outputFiles: ["**"] },
      },
      {
        name: "a global header that renames what follows",
        tar: 'Buffer.concat([pax(paxRecord("path", "../escaped"), "g"), pax(paxRecord("a", "b")), tarFile("temp/fine", "fine"), tarEnd])',
        gives: 'pax: is no regular file but a thing of type "g" | temp/fine: fine',
        naive: "outside: escaped",
      },
      {
        name: "a file outside the writable folders",
        tar: 'Buffer.concat([tarFile("data/numbers.txt"), tarEnd])',
        gives: /: lies outside the writable/,
        naive: "inside: data/numbers.txt=x",
      },
      {
        name: "a name with control characters",
        tar: 'Buffer.concat([tarFile("temp/\\x1b[2J\\u009b31m\\n"), tarEnd])',
        gives: /^"temp\/\\u001b\[2J\\u009b31m\\n": /,
      },
      {
        name: "a name that is no UTF-8",
        tar: 'Buffer.concat([tarFile(Buffer.concat([Buffer.from("temp/"), Buffer.from([0xff, 0xfe])]), "x"), tarEnd])',
        gives: "temp/\ufffd\ufffd: x",
      },
      {
        name: "links, devices and FIFOs",
        tar: '["1", "3", "4", "6"].map((type) => tarHeader({ name: "temp/" + type, type, linkname: "/etc/passwd" })).reduce((a, b) => Buffer.concat([a, b]))',
        gives: /^temp\/1: .* but a link \| temp\/3: .*character-device \| temp\/4: .*block-device \| temp\/6: .*fifo$/,
      },
      {
        name: "a sparse file",
        tar: 'Buffer.concat([tarFile("temp/s", "x", { type: "S" }), tarEnd])',
        gives: /^temp\/s: is no regular file/,
      },
      {
        name: "a wrong checksum",
        tar: `Buffer.concat([${GOOD}, tarFile("temp/b", "b", { sum: 1 }), tarEnd])`,
        gives: `temp/good: good | ${DAMAGED}`,
      },
      {
        name: "eight gigabytes that never come",
        tar: 'tarHeader({ name: "temp/huge", sizeField: "77777777777\\0" })',
        gives: /^temp\/huge: .* larger than 262144 bytes \| \*: .*damaged$/,
      },
      { name: "a size in base 256", tar: 'tarHeader({ name: "temp/huge", sizeField: Buffer.alloc(12, 0xff) })', gives: DAMAGED },
      {
        name: "a size in an extended header that lies",
        tar: `Buffer.concat([pax(paxRecord("size", "1024")), tarFile("temp/a", "a"), ${GOOD}, tarEnd])`,
        gives: /^temp\/a: a\0+temp\/good[^|]* \| \*: .*damaged$/,
      },
      {
        name: "an extended header of 100 MB",
        tar: 'tarHeader({ name: "pax", type: "x", sizeField: (100 * 2 ** 20).toString(8).padStart(11, "0") + "\\0" })',
        gives: DAMAGED,
      },
      {
        name: "something behind the end",
        tar: `Buffer.concat([${GOOD}, tarEnd, Buffer.alloc(512, "x")])`,
        gives: `temp/good: good | ${DAMAGED}`,
      },
      { name: "no archive", tar: 'Buffer.alloc(10_000, "garbage")', gives: DAMAGED },
      { name: "an archive that breaks off", tar: 'tarFile("temp/a", "x".repeat(5000)).subarray(0, 1000)', gives: DAMAGED },
      {
        name: "more files than the cap",
        tar: 'Buffer.concat(Array.from({ length: 5000 }, (_, index) => tarFile("temp/" + index)))',
        gives: /^(temp\/\d+: x \| ){20}\*: there are more than 20 output files$/,
      },
      {
        name: "more bytes than the cap",
        tar: 'Buffer.concat([tarFile("temp/a", "x".repeat(200_000)), tarFile("temp/b", "x".repeat(200_000)), tarEnd])',
        gives: /^temp\/a: x{200000} \| temp\/b: the output files together are larger than 262144 bytes$/,
      },
    ];
    for (const { gives, naive: shows, name, request, tar } of forged) {
      const without = shows === undefined ? accepted : naive(tar, shows);
      attack({ name, layer: "the service's own tar reader", without, within: { run: () => sendTar(tar, request), gives } });
    }

    /** Records that a general reader of tars keeps, and copies for each header that follows. */
    const bomb = (records: number, headers: number): string => `(() => {
    let text = "";
    for (let index = 0; index < ${records}; index++) text += "8 " + index.toString(36).padStart(4, "0") + "=\\n";
    return Buffer.concat([pax(text, "g"), ...Array(${headers}).fill(pax("11 a=bbbbb\\n"))]);
  })()`;

    attack({
      name: "a directory with content, for which a general reader waits for ever",
      layer: "the service's own tar reader",
      without: {
        run: () => {
          const reader = extract().on("entry", (_header, content, next) => content.on("end", next).resume());
          reader.end(buildTar('Buffer.concat([tarFile("temp/d", "x", { type: "5" }), tarEnd])'));
          return Promise.race([
            new Promise<string>((resolve) => reader.on("finish", () => resolve("ended")).on("error", () => resolve("ended"))),
            new Promise<string>((resolve) => setTimeout(() => resolve("waits"), 500)),
          ]);
        },
        shows: "waits",
      },
      within: {
        run: () => sendTar(`Buffer.concat([tarFile("temp/d", "x", { type: "5" }), ${GOOD}, tarEnd])`),
        gives: "temp/d: is no regular file but a directory | temp/good: good",
      },
    });

    attack({
      name: "a small archive that takes hours to read",
      layer: "the service's own tar reader",
      without: {
        run: async () => {
          const began = performance.now();
          await extractNaively(bomb(100_000, 20)).catch(() => undefined);
          return performance.now() - began > 300 ? "slow" : "quick";
        },
        shows: "slow",
      },
      within: {
        run: async () => {
          let longestMs = 0;
          let last = performance.now();
          // The service runs in this process: what blocks it delays this timer.
          const watch = setInterval(() => {
            longestMs = Math.max(longestMs, performance.now() - last);
            last = performance.now();
          }, 5);
          const files = await sendTar(bomb(50_000, 200)).finally(() => clearInterval(watch));
          assert.match(files, /^pax: is no regular file/);
          return longestMs < 500 ? "quick" : `blocked for ${longestMs} ms`;
        },
        gives: "quick",
      },
    });

    for (const [title, after, says] of [
      [
        "a list of what was left out that is too long",
        'sendArchive(tarEnd, Array(1001).fill({ path: "x", sizeBytes: 1, reason: "unreadable" }));',
        /ended before all/,
      ],
      ["a reason that is none", 'sendArchive(tarEnd, [{ path: "x", sizeBytes: 1, reason: "constructor" }]);', /ended before all/],
      [
        "names with control characters among what was left out",
        'sendArchive(tarEnd, [{ path: "\\u001b[2J\\u009b\\u2028", sizeBytes: 1, reason: "unreadable" }]);',
        /^\\u001b\[2J\\u009b\\u2028: could not be read$/,
      ],
      [
        "no end of the archive",
        'write(finished(1)); readMessage(); write(frame(2, tarFile("temp/a", "a"))); leave();',
        /^temp\/a: a \| \*: the program ended before all/,
      ],
      ["silence, where the archive should come", "write(finished(1)); for (;;);", /^\*: the program ended before all/],
      [
        "archive frames after their end",
        'write(finished(1)); readMessage(); write(rpc("archived", { skipped: [], counts: { not_a_file: 0, over_limit: 0, unreadable: 0 } })); write(frame(2, tarFile("temp/a"))); leave();',
        /^$/,
      ],
    ] as const) {
      it(`${title}: the result stands, and says so`, async () => {
        const execution = await run(`${RAW_SOCKET} ${after}`, { timeoutMs: 1500 });
        assert.equal(execution.status, "completed");
        assert.match(shown(execution.files), says);
      });
    }
  });

  describe("Security: tampering with what the runner collects", () => {
    it("planted links lead a program that reads them out of its folder, and the archive nowhere", async () => {
      const code = `const fs = require("node:fs");
      fs.symlinkSync("/etc/passwd", "temp/passwd"); fs.symlinkSync("/proc/self/environ", "temp/environ"); fs.symlinkSync("loop", "temp/loop");
      fs.symlinkSync("/etc", "temp/etc"); fs.symlinkSync("../data/numbers.txt", "temp/numbers"); fs.mkdirSync("temp/folder.txt");
      fs.writeFileSync("temp/fine", "fine");
      return [fs.readFileSync("temp/passwd", "utf8").slice(0, 5), fs.readFileSync("temp/numbers", "utf8")];`;
      const { files, result } = await run(code);
      assert.deepEqual(result, ["root:", "1\n2\n3\n"], "the control: they can be followed");
      const refused = ["environ", "etc", "loop", "numbers", "passwd"].map((name) => `temp/${name}: is no regular file`);
      assert.deepEqual(shown(files).split(" | ").sort(), [...refused, "temp/fine: fine"].sort());
    });

    it("a folder that took the place of the writable folder's content as a link is not walked", async () => {
      const code = `const fs = require("node:fs"); fs.mkdirSync("temp/a/b", { recursive: true }); fs.symlinkSync("/", "temp/a/b/root"); fs.symlinkSync("..", "temp/a/up");`;
      assert.equal(shown((await run(code)).files), "temp/a/b/root: is no regular file | temp/a/up: is no regular file");
    });

    it("a sparse file larger than all caps is named with its size, and not read", async () => {
      const code = `const fs = require("node:fs"); fs.writeFileSync("temp/sparse", "");
      const sizes = [2 ** 40, 2 ** 30, 2 ** 25, 2 ** 20].filter((size) => { try { fs.truncateSync("temp/sparse", size); return true; } catch { return false; } });
      fs.truncateSync("temp/sparse", sizes[0]); return sizes[0];`;
      const { files, result, usage } = await run(code);
      assert.ok((result as number) > MAX_BYTES);
      assert.deepEqual(
        files.map((file) => [file.path, file.size, "error" in file]),
        [["temp/sparse", result, true]],
      );
      assert.ok(usage.runMs < 2000);
    });

    it("files that grow, shrink, vanish and turn into links while they are read give what they were, or a reason", async () => {
      const code = `import { Worker } from "node:worker_threads"; import fs from "node:fs";
      const names = Array.from({ length: 8 }, (_, index) => "temp/f" + index);
      const changes = \`
        const fs = require("node:fs"); const { workerData: { names, signal } } = require("node:worker_threads");
        for (;;) for (const name of names) {
          try { fs.writeFileSync(name, "x".repeat(100)); fs.appendFileSync(name, "y".repeat(20000)); fs.truncateSync(name, 3); } catch {}
          try { fs.unlinkSync(name); fs.symlinkSync("/etc/passwd", name); Atomics.add(signal, 0, 1); fs.unlinkSync(name); } catch {}
        }\`;
      const signal = new Int32Array(new SharedArrayBuffer(4));
      for (let index = 0; index < 2; index++) new Worker(changes, { eval: true, workerData: { names, signal } });
      const followed = () => names.some((name) => { try { return fs.readFileSync(name, "utf8").startsWith("root:"); } catch { return false; } });
      let wasFollowed = false;
      for (let round = 0; round < 20000 && !wasFollowed; round++) { wasFollowed = followed(); if (round % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 1)); }
      return wasFollowed;`;
      for (let round = 0; round < 3; round += 1) {
        const { files, result, status } = await run(code, { limits: { cpus: 1 } });
        assert.equal(status, "completed");
        assert.equal(result, true, "the control: a careless reader follows the link in the end");
        for (const file of files) {
          if ("content" in file) assert.match(Buffer.from(file.content, file.encoding).toString("latin1"), /^[xy\0]*$/, file.path);
          else assert.match(file.error, /^(is no regular file|could not be read)$/);
        }
      }
    });
  });

  describe("Security: tampering with names", () => {
    const REFUSED = [
      "../x",
      "a/../../x",
      "/etc/x",
      "//x",
      "a\0b",
      "a\nb",
      "a\rb",
      "\u001b[31m",
      "a\\b",
      "..\\x",
      "a\u0085b",
      "a\u2028b",
      "\ud800",
      "",
      ".",
      "./",
      "x".repeat(256),
      "é".repeat(128),
      "a/".repeat(600) + "b",
    ];
    /** Two of a pair are two files. */
    const TAKEN = [
      "__proto__",
      "constructor/prototype",
      "toString",
      "hasOwnProperty",
      "é-composed",
      "e\u0301-decomposed",
      "Case",
      "case",
      "\u202egpj.exe",
      "\u200b",
      " ",
      " leading",
      "trailing ",
      "trailing.",
      "-rf",
      "--",
      "~",
      "$(id)",
      "`id`",
      "*",
      "a*b?",
      "%2e%2e",
      "CON",
      "nul.txt",
      "...",
      "..a",
      "x".repeat(255),
      "d/".repeat(60) + "deep",
      "'\"",
      "\ufeffbom",
      "😀",
    ];

    it("of input files are refused, or are that file and no other", async () => {
      for (const name of REFUSED) {
        const { body, status } = await service.post<ErrorBody>({ code: "1", files: [{ path: name, content: "x" }] });
        assert.deepEqual([status, body.error.code], [400, "INVALID_REQUEST"], JSON.stringify(name).slice(0, 60));
      }
      for (const folder of ["in", "temp"]) {
        const files = TAKEN.map((name, index) => ({ path: `${folder}/${name}`, content: String(index) }));
        const read = `const fs = require("node:fs"); return JSON.parse(process.env.NAMES).map((name) => fs.readFileSync(name, "utf8"));`;
        const env = { NAMES: JSON.stringify(files.map(({ path: name }) => name)) };
        const { error, result } = await service.run(read, { files, env });
        assert.deepEqual([error, result], [null, TAKEN.map((_, index) => String(index))], folder);
      }
    });

    it("of output files are refused, or are that file and no other", async () => {
      const write = `const fs = require("node:fs"); const path = require("node:path");
      for (const [index, name] of JSON.parse(process.env.NAMES).entries()) {
        fs.mkdirSync(path.dirname("temp/" + name), { recursive: true }); fs.writeFileSync("temp/" + name, String(index));
      }`;
      for (let from = 0; from < TAKEN.length; from += MAX_FILES) {
        const names = TAKEN.slice(from, from + MAX_FILES);
        const { files } = await run(write, { env: { NAMES: JSON.stringify(names) } });
        const contents = Object.fromEntries(files.map((file) => [file.path, "content" in file ? file.content : file.error]));
        for (const [index, name] of names.entries()) assert.equal(contents[`temp/${name}`], String(index), JSON.stringify(name));
        assert.equal(files.length, names.length);
      }
      const hostile = ["a\nb", "\u001b[31mred", "back\\slash", "c1\u009b31m", "line\u2028"];
      const { files } = await run(write, { env: { NAMES: JSON.stringify(hostile) } });
      assert.equal(files.length, hostile.length);
      for (const file of files)
        assert.match("error" in file ? file.error : "", /^the name holds a (control character|backslash)/, file.path);
    });

    it("that are no UTF-8 are told, and hide nothing", async () => {
      const code = `const fs = require("node:fs"); fs.writeFileSync(Buffer.concat([Buffer.from("temp/"), Buffer.from([0xff, 0xfe])]), "x"); fs.writeFileSync("temp/z", "z");`;
      assert.match(shown((await run(code)).files), /^temp\/z: z \| temp\/\ufffd\ufffd: could not be read$/);
    });
  });
});
