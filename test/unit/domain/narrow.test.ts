import assert from "node:assert/strict";

import fc from "fast-check";

import { AppError } from "../../../src/domain/errors.ts";
import { narrow } from "../../../src/domain/narrow.ts";
import { narrowPermissions } from "../../../src/domain/narrow-permissions.ts";
import { normalizePermissions } from "../../../src/domain/permissions.ts";
import type { Permissions, PermissionsInput } from "../../../src/domain/permissions.ts";
import { requestOf, runtimeOf } from "../support/policies.ts";

/* What permissions let a program do, asked of them thing by thing. Written without a look at the code under test. */

const NAMES = ["a", "b", "ab"];
const PATHS = NAMES.flatMap((x) => [x, ...NAMES.flatMap((y) => [`${x}/${y}`, ...NAMES.map((z) => `${x}/${y}/${z}`)])]);
const HOSTS = [
  "example.com",
  "api.example.com",
  "v1.api.example.com",
  "badexample.com",
  "example.com.evil.org",
  "localhost",
  "127.0.0.1",
  "10.0.0.1",
];
const PORTS = Array.from({ length: 12 }, (_, index) => index + 1);
const COMMANDS = ["ls", "git", "git-push"];
const EXECUTABLES = ["/usr/a", "/usr/a/b", "/usr/ab"];

const covers = (folder: string, path: string): boolean => {
  const [outer, inner] = [folder === "." ? [] : folder.split("/"), path.split("/")];
  return outer.every((name, index) => inner[index] === name);
};

const reaches = (entry: string, host: string): boolean => {
  if (!entry.startsWith("*.")) return entry === host;
  const [suffix, labels] = [entry.slice(2).split("."), host.split(".")];
  return labels.length > suffix.length && labels.slice(labels.length - suffix.length).join(".") === suffix.join(".");
};

/** Everything that the permissions allow, as a list of plain facts. */
function abilities({ fileSystem, network, system }: Permissions): Set<string> {
  const able = new Set<string>();
  for (const path of PATHS) {
    for (const entry of fileSystem.read) {
      if (!covers(entry.path, path)) continue;
      able.add(`read ${path}`);
      if (!entry.snapshot) able.add(`see changes of ${path}`);
    }
    for (const entry of fileSystem.write) {
      if (!covers(entry.path, path)) continue;
      able.add(`write ${path}`);
      if (entry.persist) able.add(`keep ${path}`);
    }
  }
  for (const host of HOSTS) if (network.allowedHosts.some((entry) => reaches(entry, host))) able.add(`reach ${host}`);
  for (const port of PORTS)
    if (network.allowedPorts.some(({ first, last }) => first <= port && port <= last)) able.add(`connect to ${port}`);
  if (network.loopback) able.add("use TCP on its loopback");
  for (const file of EXECUTABLES) if (fileSystem.execute.some((entry) => covers(entry, file))) able.add(`execute ${file}`);
  for (const command of COMMANDS) if (system.allowedCommands.includes(command)) able.add(`run ${command}`);
  for (let count = 1; count <= system.maxProcesses; count += 1) able.add(`have ${count} processes`);
  return able;
}

const path = fc.oneof({ weight: 1, arbitrary: fc.constant(".") }, { weight: 12, arbitrary: fc.constantFrom(...PATHS) });
const few = <T>(item: fc.Arbitrary<T>): fc.Arbitrary<T[]> => fc.array(item, { maxLength: 3 });
const port = fc.oneof(
  fc.constantFrom(...PORTS),
  fc.tuple(fc.constantFrom(...PORTS), fc.nat(6)).map(([first, more]) => `${first}-${first + more}`),
);
const host = fc.constantFrom(...HOSTS, "*.example.com", "*.api.example.com", "EXAMPLE.com.");
const anyPermissions = fc.record(
  {
    fileSystem: fc.record(
      {
        read: few(fc.oneof(path, fc.record({ path, snapshot: fc.boolean() }))),
        write: few(fc.oneof(path, fc.record({ path, persist: fc.boolean() }))),
        execute: few(fc.constantFrom(...EXECUTABLES)),
      },
      { requiredKeys: [] },
    ),
    network: fc.record({ allowedHosts: few(host), allowedPorts: few(port), loopback: fc.boolean() }, { requiredKeys: [] }),
    system: fc.record(
      { allowedCommands: few(fc.constantFrom(...COMMANDS)), maxProcesses: fc.integer({ min: 1, max: 4 }) },
      { requiredKeys: [] },
    ),
  },
  { requiredKeys: [] },
);

const granted = anyPermissions
  .map((input) => normalizePermissions(input))
  .filter((result) => result.ok)
  .map((result) => result.permissions);

/** A request for some of what is granted: fewer entries, folders inside the granted ones, narrower ranges. */
const partOf = (permissions: Permissions): fc.Arbitrary<PermissionsInput> => {
  const inside = (folder: string): fc.Arbitrary<string> =>
    fc.constantFrom(folder, ...PATHS.filter((candidate) => covers(folder, candidate)));
  const some = <T, U>(items: readonly T[], map: (item: T) => fc.Arbitrary<U>): fc.Arbitrary<U[]> =>
    fc.subarray([...items]).chain((chosen) => (chosen.length === 0 ? fc.constant<U[]>([]) : fc.tuple(...chosen.map(map))));
  return fc.record({
    fileSystem: fc.record({
      read: some(permissions.fileSystem.read, (entry) => inside(entry.path)),
      write: some(permissions.fileSystem.write, (entry) => inside(entry.path)),
      execute: fc.subarray([...permissions.fileSystem.execute]),
    }),
    network: fc.record({
      allowedHosts: fc.subarray([...permissions.network.allowedHosts]),
      allowedPorts: some(permissions.network.allowedPorts, ({ first, last }) =>
        fc
          .tuple(fc.integer({ min: first, max: last }), fc.integer({ min: first, max: last }))
          .map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`),
      ),
      loopback: fc.constantFrom(false, permissions.network.loopback),
    }),
    system: fc.record({ maxProcesses: fc.integer({ min: 1, max: permissions.system.maxProcesses }) }),
  });
};

describe("narrow: a request's permissions", () => {
  it("never allow anything that the runtime does not", () => {
    let accepted = 0;
    fc.assert(
      fc.property(granted, anyPermissions, (grant, request) => {
        const result = narrowPermissions(grant, request);
        if (!result.ok) return;
        accepted += 1;
        const had = abilities(grant);
        for (const ability of abilities(result.permissions)) assert.ok(had.has(ability), `the request gained: ${ability}`);
      }),
      { numRuns: 6000 },
    );
    assert.ok(accepted > 100, `only ${accepted} requests were accepted: the property says little`);
  });

  it("never allow anything that the request does not ask for, where it asks", () => {
    fc.assert(
      fc.property(granted, anyPermissions, (grant, request) => {
        const result = narrowPermissions(grant, request);
        const asked = normalizePermissions(request, grant);
        if (!result.ok || !asked.ok) return;
        const allowed = abilities(asked.permissions);
        for (const ability of abilities(result.permissions)) assert.ok(allowed.has(ability), `unasked: ${ability}`);
      }),
      { numRuns: 1000 },
    );
  });

  it("are accepted whenever they ask for a part of what the runtime grants", () => {
    fc.assert(
      fc.property(
        granted.chain((grant) => partOf(grant).map((request) => ({ grant, request }))),
        ({ grant, request }) => {
          const result = narrowPermissions(grant, request);
          assert.ok(result.ok, JSON.stringify(result));
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("are the runtime's own where they are left out", () => {
    fc.assert(
      fc.property(granted, (grant) => {
        assert.deepEqual(narrowPermissions(grant, {}), { ok: true, permissions: grant });
      }),
    );
  });

  it("keep a snapshot a snapshot, even for a folder inside it", () => {
    const { permissions } = runtimeOf({ permissions: { fileSystem: { read: [{ path: "data", snapshot: true }] } } });
    const result = narrowPermissions(permissions, { fileSystem: { read: [{ path: "data/a", snapshot: false }] } });
    assert.ok(result.ok);
    assert.deepEqual(result.permissions.fileSystem.read, [{ path: "data/a", snapshot: true }]);
  });
});

describe("narrow: commands", () => {
  const runtime = runtimeOf({ packages: ["git"], permissions: { system: { allowedCommands: ["git", "jq"], maxProcesses: 4 } } });

  it("may name the runtime itself, which nobody grants", () => {
    const { system } = narrow(runtime, requestOf({ permissions: { system: { allowedCommands: ["node", "jq"] } } })).permissions;
    assert.deepEqual(system, { allowedCommands: ["node", "jq"], maxProcesses: 4 });
  });
});

describe("narrow: TCP on the loopback", () => {
  const runtime = runtimeOf({ permissions: { network: { loopback: true } } });
  for (const [network, loopback] of [
    [undefined, true],
    [{}, true],
    [{ loopback: true }, true],
    [{ loopback: false }, false],
  ] as const) {
    it(`${JSON.stringify(network ?? "nothing said")} gives ${loopback} where the runtime has it`, () => {
      const request = requestOf(network === undefined ? {} : { permissions: { network } });
      assert.equal(narrow(runtime, request).permissions.network.loopback, loopback);
    });
  }
});

describe("narrow: what a request may not ask for", () => {
  const runtime = runtimeOf({
    packages: ["git"],
    permissions: {
      fileSystem: { read: ["data"], write: ["temp"], execute: ["/usr/lib/git-core", "/usr/lib/x/tool"] },
      network: { allowedHosts: ["*.example.com"], allowedPorts: ["8000-8010"] },
      system: { allowedCommands: ["git"], maxProcesses: 2 },
    },
  });
  const refusalOf = (request: object): AppError => {
    try {
      narrow(runtime, requestOf(request));
    } catch (error) {
      assert.ok(error instanceof AppError);
      return error;
    }
    return assert.fail("it was accepted");
  };

  for (const [permissions, entry, message] of [
    [{ fileSystem: { read: ["data", "secrets"] } }, "permissions.fileSystem.read.1", /does not let programs read "secrets"/],
    [{ fileSystem: { read: ["."], write: [] } }, "permissions.fileSystem.read.0", /does not let programs read "\."/],
    [{ fileSystem: { read: ["database"] } }, "permissions.fileSystem.read.0", /"database"/],
    [{ fileSystem: { write: ["out"] } }, "permissions.fileSystem.write.0", /does not let programs write "out"/],
    [
      { fileSystem: { write: [{ path: "temp", persist: true }] } },
      "permissions.fileSystem.write.0",
      /what is written to "temp" cannot be kept/,
    ],
    [{ fileSystem: { execute: ["/usr/lib"] } }, "permissions.fileSystem.execute.0", /does not let programs execute "\/usr\/lib"/],
    [{ fileSystem: { execute: ["/usr/lib/git"] } }, "permissions.fileSystem.execute.0", /does not let programs execute/],
    [
      { fileSystem: { execute: ["/usr/lib/x/tool", "/usr/lib/git-core/git-daemon"] } },
      "permissions.fileSystem.execute.1",
      /^"\/usr\/lib\/git-core\/git-daemon" lies in "\/usr\/lib\/git-core", which a request keeps whole or leaves out/,
    ],
    [{ network: { allowedHosts: ["example.com"] } }, "permissions.network.allowedHosts.0", /does not let programs reach "example.com"/],
    [{ network: { allowedHosts: ["*.com"] } }, "permissions.network.allowedHosts.0", /reach "\*\.com"/],
    [{ network: { allowedHosts: ["api.example.com", "evilexample.com"] } }, "permissions.network.allowedHosts.1", /"evilexample.com"/],
    [{ network: { allowedPorts: [443] } }, "permissions.network.allowedPorts.0", /reach port 443$/],
    [{ network: { allowedPorts: ["8005-8011"] } }, "permissions.network.allowedPorts.0", /reach port 8005-8011$/],
    [{ network: { loopback: true } }, "permissions.network.loopback", /^this runtime does not let programs use TCP on their loopback$/],
    [{ system: { allowedCommands: ["sh"] } }, "permissions.system.allowedCommands.0", /does not let programs run "sh"/],
    [{ system: { maxProcesses: 3 } }, "permissions.system.maxProcesses", /allows 2 process/],
  ] as const) {
    it(`${entry} = ${JSON.stringify(permissions)}`, () => {
      const error = refusalOf({ permissions });
      assert.equal(error.code, "PERMISSION_WIDENING");
      assert.equal(error.status, 403);
      assert.equal(error.details.length, 1);
      assert.equal(error.details[0]!.path, entry);
      assert.match(error.details[0]!.message, message);
      assert.match(error.message, /can narrow the permissions of the runtime "node", never widen them: /);
    });
  }

  it("an entry that makes no sense is a bad request, not a forbidden one", () => {
    const error = refusalOf({ permissions: { fileSystem: { read: ["../data"] } } });
    assert.equal(error.code, "INVALID_REQUEST");
    assert.deepEqual(error.details, [
      { path: "permissions.fileSystem.read.0", message: 'the path "../data" contains ".."; a path stays inside the workspace' },
    ]);
  });

  it("a limit above the ceiling is refused with the ceiling and the field, all of them at once", () => {
    const error = refusalOf({ timeoutMs: 30_001, limits: { memory: "1GB", cpus: 2, outputBytes: 5 * 2 ** 20 } });
    assert.equal(error.code, "LIMIT_EXCEEDED");
    assert.deepEqual(error.details, [
      { path: "timeoutMs", message: "30001 ms is above this runtime's ceiling of 30000 ms" },
      { path: "limits.memory", message: "1GB is above this runtime's ceiling of 512MB" },
      { path: "limits.cpus", message: "2 is above this runtime's ceiling of 1" },
      { path: "limits.outputBytes", message: "5MB is above this runtime's ceiling of 4MB" },
    ]);
  });

  it("the limits are looked at before the permissions, and a good request gets the runtime's policy", () => {
    assert.equal(refusalOf({ timeoutMs: 30_001, permissions: { system: { maxProcesses: 3 } } }).code, "LIMIT_EXCEEDED");
    const policy = narrow(runtime, requestOf({ timeoutMs: 5, permissions: { fileSystem: { write: [] } } }));
    assert.deepEqual(policy, {
      runtime: "node",
      language: "typescript",
      image: runtime.image,
      permissions: { ...runtime.permissions, fileSystem: { ...runtime.permissions.fileSystem, write: [] } },
      granted: runtime.permissions,
      limits: { ...runtime.limits.defaults, timeoutMs: 5 },
      guards: runtime.guards,
      engineRuntime: undefined,
    });
  });
});
