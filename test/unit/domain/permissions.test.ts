import assert from "node:assert/strict";

import { NO_PERMISSIONS, normalizePermissions, permissionsSchema } from "../../../src/domain/permissions.ts";
import type { Permissions, PermissionsInput } from "../../../src/domain/permissions.ts";

const normal = (input: PermissionsInput): Permissions => {
  const result = normalizePermissions(input);
  assert.ok(result.ok, JSON.stringify(result));
  return result.permissions;
};

const problemsOf = (input: PermissionsInput): string[] => {
  const result = normalizePermissions(input);
  assert.ok(!result.ok, "it was accepted");
  return result.problems.map(({ entry, message }) => `${entry.join(".")}: ${message}`);
};

describe("permissions: the normal form", () => {
  it("of nothing is nothing", () => {
    assert.deepEqual(normal({}), NO_PERMISSIONS);
  });

  it("has every path as the workspace spells it", () => {
    const { fileSystem } = normal({
      fileSystem: {
        read: ["./data/**", { path: "config/", snapshot: true }],
        write: ["./temp//x", { path: "out", persist: true }],
        execute: ["/usr/./lib//git-core/**"],
      },
    });
    assert.deepEqual(fileSystem, {
      read: [
        { path: "data", snapshot: false },
        { path: "config", snapshot: true },
      ],
      write: [
        { path: "temp/x", persist: false },
        { path: "out", persist: true },
      ],
      execute: ["/usr/lib/git-core"],
    });
  });

  it("has ports as ranges and hosts in lower case without the root's dot", () => {
    const { network } = normal({
      network: { allowedHosts: ["Example.COM.", "*.Example.com", "10.0.0.0/8"], allowedPorts: [443, "8000-8010", "1-65535"] },
    });
    assert.deepEqual(network, {
      allowedHosts: ["example.com", "*.example.com", "10.0.0.0/8"],
      allowedPorts: [
        { first: 443, last: 443 },
        { first: 8000, last: 8010 },
        { first: 1, last: 65_535 },
      ],
      loopback: false,
    });
  });

  it("drops a read entry inside another one, and keeps the first of equal ones", () => {
    const { fileSystem } = normal({ fileSystem: { read: ["data/a", "data", { path: "data", snapshot: true }, "database"] } });
    assert.deepEqual(fileSystem.read, [
      { path: "data", snapshot: false },
      { path: "database", snapshot: false },
    ]);
  });

  it("has TCP on the own loopback only where it says so", () => {
    for (const network of [{}, { loopback: false }, { allowedHosts: ["localhost"] }])
      assert.equal(normal({ network }).network.loopback, false, JSON.stringify(network));
    assert.equal(normal({ network: { loopback: true } }).network.loopback, true);
  });

  it("takes what is left out from the base, and only that", () => {
    const base = normal({
      fileSystem: { read: ["data"], write: ["temp"] },
      network: { allowedPorts: [1], loopback: true },
      system: { maxProcesses: 4 },
    });
    const result = normalizePermissions({ fileSystem: { read: [] }, system: {} }, base);
    assert.ok(result.ok);
    assert.deepEqual(result.permissions, { ...base, fileSystem: { ...base.fileSystem, read: [] } });
  });

  for (const [title, input, problem] of [
    [
      "a path that leads out",
      { fileSystem: { read: ["data", "../etc"] } },
      /^fileSystem\.read\.1: the path "\.\.\/etc" contains "\.\."; a path stays inside the workspace$/,
    ],
    ["an absolute path", { fileSystem: { write: ["/tmp"] } }, /^fileSystem\.write\.0: the path "\/tmp" is absolute; give a path relative/],
    [
      "an executable that leads out",
      { fileSystem: { execute: ["/usr/lib/x/../y"] } },
      /^fileSystem\.execute\.0: the path .* contains "\.\."/,
    ],
    [
      "an executable of the workspace",
      { fileSystem: { execute: ["/usr/lib/x", "./tool"] } },
      /^fileSystem\.execute\.1: the path "\.\/tool" is relative; .*"\/usr\/lib\/git-core"\. Nothing in the workspace can be executed$/,
    ],
    [
      "a command with a path",
      { system: { allowedCommands: ["git", "/usr/bin/jq"] } },
      /^system\.allowedCommands\.1: the command "\/usr\/bin\/jq" is a path; write the name alone, or name the file in fileSystem\.execute$/,
    ],
    [
      "a command with arguments",
      { system: { allowedCommands: ["git push"] } },
      /the command "git push" holds a blank; write the name alone/,
    ],
    [
      "a writable workspace",
      { fileSystem: { write: ["."] } },
      /^fileSystem\.write\.0: the whole workspace cannot be writable; name a folder in it$/,
    ],
    [
      "two write entries that overlap",
      { fileSystem: { write: ["temp/a", "temp"] } },
      /^fileSystem\.write\.1: "temp" overlaps the write entry "temp\/a"$/,
    ],
    [
      "the same write entry twice",
      { fileSystem: { write: ["temp", "./temp/"] } },
      /^fileSystem\.write\.1: "temp" overlaps the write entry "temp"$/,
    ],
    [
      "a write entry inside a read entry",
      { fileSystem: { read: ["data"], write: ["data/out"] } },
      /^fileSystem\.write\.0: "data\/out" overlaps the read entry "data"; keep/,
    ],
    [
      "a read entry inside a write entry",
      { fileSystem: { read: ["temp/in"], write: ["temp"] } },
      /^fileSystem\.write\.0: "temp" overlaps the read entry "temp\/in"/,
    ],
    ["a write entry below a readable workspace", { fileSystem: { read: ["."], write: ["temp"] } }, /overlaps the read entry "\."/],
    [
      "port 0 in a range",
      { network: { allowedPorts: ["0-80"] } },
      /^network\.allowedPorts\.0: the ports "0-80" are no range from 1 to 65535$/,
    ],
    ["a range above the last port", { network: { allowedPorts: [1, "80-65536"] } }, /^network\.allowedPorts\.1: the ports "80-65536"/],
    [
      "a host that only looks like one",
      { network: { allowedHosts: ["*.example.com", "evil.com/.example.com"] } },
      /^network\.allowedHosts\.1: the host "evil\.com\/\.example\.com" has a path; write the name alone$/,
    ],
    ["a range that ends before it begins", { network: { allowedPorts: ["90-80"] } }, /the ports "90-80"/],
  ] as const satisfies readonly (readonly [string, PermissionsInput, RegExp])[]) {
    it(`refuses ${title}`, () => {
      const problems = problemsOf(input);
      assert.equal(problems.length, 1, problems.join("\n"));
      assert.match(problems[0]!, problem);
    });
  }

  it("reports all problems at once", () => {
    assert.equal(problemsOf({ fileSystem: { read: ["..", "/"], write: ["."] }, network: { allowedPorts: ["9-8"] } }).length, 4);
  });
});

describe("permissions: the schema", () => {
  for (const [title, value, path, message] of [
    ["an unknown section", { files: {} }, "", /files/],
    ["an unknown list", { fileSystem: { reed: [] } }, "fileSystem", /reed/],
    [
      "a path that is no text",
      { fileSystem: { read: [1] } },
      "fileSystem.read.0",
      /expected a path, or an object \{"path": "…", "snapshot": true\}/,
    ],
    ["persist on a read entry", { fileSystem: { read: [{ path: "a", persist: true }] } }, "fileSystem.read.0", /persist/],
    ["snapshot on a write entry", { fileSystem: { write: [{ path: "a", snapshot: true }] } }, "fileSystem.write.0", /snapshot/],
    ["a list that is none", { network: { allowedHosts: "localhost" } }, "network.allowedHosts", /expected array/],
    ["an empty host", { network: { allowedHosts: [""] } }, "network.allowedHosts.0", /./],
    ["port 0", { network: { allowedPorts: [0] } }, "network.allowedPorts.0", /from 1 to 65535, or a range such as "8000-8010"/],
    ["a port with a fraction", { network: { allowedPorts: [80.5] } }, "network.allowedPorts.0", /a port number/],
    ["a port as text", { network: { allowedPorts: ["80"] } }, "network.allowedPorts.0", /a port number/],
    ["a loopback as text", { network: { loopback: "true" } }, "network.loopback", /expected boolean/],
    ["no process at all", { system: { maxProcesses: 0 } }, "system.maxProcesses", />=1/],
    ["too many processes", { system: { maxProcesses: 65 } }, "system.maxProcesses", /<=64/],
    [
      "a list that is too long",
      { system: { allowedCommands: Array.from({ length: 257 }, () => "ls") } },
      "system.allowedCommands",
      /<=256/,
    ],
  ] as const) {
    it(`refuses ${title} and names the place`, () => {
      const parsed = permissionsSchema.safeParse(value);
      assert.ok(!parsed.success);
      assert.equal(parsed.error.issues.length, 1);
      assert.equal(parsed.error.issues[0]!.path.join("."), path);
      assert.match(parsed.error.issues[0]!.message, message);
    });
  }
});
