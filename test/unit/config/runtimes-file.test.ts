import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import path from "node:path";

import { z } from "zod";

import { loadRuntimes, parseRuntimes, runtimesFileSchema } from "../../../src/config/runtimes-file.ts";
import { StartupError } from "../../../src/domain/errors.ts";
import { plainImage } from "../../../src/domain/image-spec.ts";
import { findUnsupported } from "../../../src/domain/unsupported.ts";
import { NO_PERMISSIONS } from "../../../src/domain/permissions.ts";
import { packageRoot } from "../../../src/lib/package-info.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const FILE = "etc/runtimes.json";

const problemsOf = (text: string): readonly string[] => {
  try {
    parseRuntimes(text, FILE);
  } catch (error) {
    assert.ok(error instanceof StartupError);
    return error.problems;
  }
  return assert.fail("it was accepted");
};

const problemsOfRuntime = (settings: unknown): readonly string[] => problemsOf(JSON.stringify({ runtimes: { node: settings } }));

/** The names of all settings of a schema, at any depth. */
function settingsOf(schema: z.ZodType): Set<string> {
  const names = new Set<string>();
  const json = JSON.stringify(z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }));
  JSON.parse(json, (key, value: unknown) => {
    if (key === "properties") for (const name of Object.keys(value as object)) names.add(name);
    return value;
  });
  return names;
}

describe("runtimes-file: the files that ship", () => {
  it("config/runtimes.json can run, without a warning", async () => {
    const { runtimes, warnings } = await loadRuntimes(path.join(packageRoot, "config", "runtimes.json"));
    assert.deepEqual([...runtimes.keys()], ["node"]);
    assert.deepEqual(warnings, []);
    assert.deepEqual(runtimes.get("node"), {
      name: "node",
      language: "typescript",
      version: "24",
      image: plainImage(24),
      permissions: {
        fileSystem: {
          read: [
            { path: "data", snapshot: false },
            { path: "config", snapshot: false },
          ],
          write: [{ path: "temp", persist: false }],
          execute: [],
        },
        network: { allowedHosts: [], allowedPorts: [], loopback: false },
        system: { allowedCommands: [], maxProcesses: 1 },
      },
      limits: runtimes.get("node")!.limits,
      guards: { allowedModules: ["*"], denyCodeGeneration: true },
      engineRuntime: undefined,
      unavailable: [],
    });
    assert.deepEqual(runtimes.get("node")!.limits.ceilings, {
      timeoutMs: 30_000,
      memoryBytes: 512 * 2 ** 20,
      cpus: 1,
      outputBytes: 4 * 2 ** 20,
    });
  });

  it("the commented one of `code-mode init` means the same, names every setting, and can be uncommented line by line", async () => {
    const file = path.join(packageRoot, "config", "init", "runtimes.json");
    const shipped = await loadRuntimes(path.join(packageRoot, "config", "runtimes.json"));
    assert.deepEqual(await loadRuntimes(file), shipped);

    const text = await readFile(file, "utf8");
    for (const name of settingsOf(runtimesFileSchema)) assert.ok(text.includes(`"${name}"`), `the setting ${name} is not explained`);

    const uncommented = text.replace(/^(\s*)\/\/ (?=\s*(?:"\w+":|\}|\/\/ ))/gm, "$1");
    const { runtimes } = parseRuntimes(uncommented, file);
    assert.deepEqual([...runtimes.keys()], ["node", "pure"]);
    assert.equal(runtimes.get("node")!.limits.ceilings.timeoutMs, 120_000);
    assert.deepEqual(runtimes.get("pure")!.permissions, NO_PERMISSIONS);
  });

  it("the plan's own text loads unchanged, with warnings for what has changed since, and says why it cannot run", async () => {
    const { runtimes, warnings } = await loadRuntimes(path.join(packageRoot, "examples", "plan", "runtimes.json"));
    const node = runtimes.get("node")!;
    assert.deepEqual([node.version, node.image.nodeMajor], ["18", 22]);
    assert.deepEqual(node.guards, { allowedModules: ["path", "fs"], denyCodeGeneration: true });
    assert.equal(warnings.length, 2);
    assert.match(warnings[0]!, /runtimes\.json: runtimes\.node\.version: Node 18 is past its end of life; programs run on Node 22$/);
    assert.match(warnings[1]!, /runtimes\.node\.sandboxType: "vm2" is no security boundary and is not used; programs run in a container/);
    assert.deepEqual(node.unavailable, []);
    assert.match(findUnsupported(node.permissions).join(), /^permissions\.network\.allowedHosts: /);
  });
});

describe("runtimes-file: a file that cannot be used", () => {
  const folder = useTempFolder();

  it("is named when it is missing, with the variable that names its folder", async () => {
    const file = path.join(folder(), "runtimes.json");
    await assert.rejects(loadRuntimes(file), (error: StartupError) => {
      assert.deepEqual(error.problems, [
        `${file}: cannot be read (ENOENT). Set CODE_MODE_CONFIG_DIR to the folder that holds runtimes.json.`,
      ]);
      return error instanceof StartupError;
    });
  });

  it("is named when it is a folder", async () => {
    await assert.rejects(loadRuntimes(folder()), { name: "StartupError", message: /cannot be read \(EISDIR\)/ });
  });

  for (const [title, text, problem] of [
    ["is empty", "", /^etc\/runtimes\.json:1:1: expected a value$/],
    ["is no JSON", '{"runtimes": {', /^etc\/runtimes\.json:1:15: expected "," or "}"$/],
    ["has a key that would come first in any order", '{"runtimes": {"node": {}, "22": {}}}', /runtimes\.22: .*no number alone$/],
    [
      "sets a runtime twice",
      '{"runtimes": {\n"a": {},\n"a": {}}}',
      /^etc\/runtimes\.json:3:1: the key "runtimes\.a" is there twice, first on line 2/,
    ],
    ["is a list", "[]", /^etc\/runtimes\.json: the file: is \[\]: .*expected object/],
    ["is null", "null", /^etc\/runtimes\.json: the file: is null: /],
    ["has no runtimes", "{}", /^etc\/runtimes\.json: runtimes: is missing: /],
    ["has runtimes that are none", '{"runtimes": []}', /^etc\/runtimes\.json: runtimes: is \[\]: /],
    ["has an empty list of runtimes", '{"runtimes": {}}', /^etc\/runtimes\.json: runtimes: is empty; at least one runtime is needed$/],
    ["has an unknown part", '{"runtimes": {"node": {}}, "servers": {}}', /^etc\/runtimes\.json: servers: is \{\}: is no known setting$/],
    [
      "has a key that is no name",
      '{"runtimes": {"my runtime": {}}}',
      /^etc\/runtimes\.json: runtimes\.my runtime: .*a runtime's key is letters, digits, _ \. and -, and no number alone$/,
    ],
    ["has a runtime that is none", '{"runtimes": {"node": null}}', /^etc\/runtimes\.json: runtimes\.node: is null: /],
  ] as const) {
    it(`that ${title} is an error that names it`, () => {
      const problems = problemsOf(text);
      assert.equal(problems.length, 1, problems.join("\n"));
      assert.match(problems[0]!, problem);
    });
  }
});

describe("runtimes-file: every wrong value", () => {
  for (const [settings, place, expectation] of [
    [{ name: "" }, 'name: is ""', />=1/],
    [{ name: 5 }, "name: is 5", /expected string/],
    [{ language: "python" }, 'language: is "python"', /"typescript"\|"javascript"/],
    [{ version: 24 }, "version: is 24", /expected string|a version of Node such as "24"/],
    [{ version: "latest" }, 'version: is "latest"', /expected a version of Node such as "24"/],
    [{ timeout: 0 }, "timeout: is 0", />=1/],
    [{ timeout: "30s" }, 'timeout: is "30s"', /expected/],
    [{ timeout: 86_400_001 }, "timeout: is 86400001", /<=86400000/],
    [{ timeout: 1.5 }, "timeout: is 1.5", /expected int/],
    [{ memoryLimit: "512 pounds" }, 'memoryLimit: is "512 pounds"', /a size such as "512MB"/],
    [{ memoryLimit: "32MB" }, 'memoryLimit: is "32MB"', /must be at least 64MB/],
    [{ memoryLimit: null }, "memoryLimit: is null", /a size such as "512MB"/],
    [{ allowedModules: "*" }, 'allowedModules: is "*"', /expected array/],
    [{ allowedModules: [""] }, 'allowedModules.0: is ""', />=1/],
    [
      { deniedOperations: ["eval", "require"] },
      'deniedOperations.1: is "require"',
      /expected "eval" or "Function"; either turns off code from strings/,
    ],
    [{ sandboxType: "vm" }, 'sandboxType: is "vm"', /"container"\|"vm2"/],
    [{ permissions: [] }, "permissions: is []", /expected object/],
    [{ permissions: { filesystem: {} } }, "permissions.filesystem: is {}", /is no known setting/],
    [{ permissions: { fileSystem: { reads: [] } } }, "permissions.fileSystem.reads: is []", /is no known setting/],
    [{ permissions: { fileSystem: { read: ["./data", 7] } } }, "permissions.fileSystem.read.1: is 7", /expected a path, or an object/],
    [
      { permissions: { network: { allowedPorts: [70_000] } } },
      "permissions.network.allowedPorts.0: is 70000",
      /from 1 to 65535, or a range such as "8000-8010"/,
    ],
    [
      { permissions: { network: { allowedPorts: ["http"] } } },
      'permissions.network.allowedPorts.0: is "http"',
      /from 1 to 65535, or a range such as "8000-8010"/,
    ],
    [{ permissions: { system: { maxProcesses: 0 } } }, "permissions.system.maxProcesses: is 0", />=1/],
    [{ limits: { maxMemory: "1MB" } }, 'limits.maxMemory: is "1MB"', /at least 64MB/],
    [{ limits: { tempBytes: "1KB" } }, 'limits.tempBytes: is "1KB"', /from 64KB to 64GB/],
    [{ limits: { openFiles: 1 } }, "limits.openFiles: is 1", />=64/],
    [{ limits: { memory: "1GB" } }, 'limits.memory: is "1GB"', /is no known setting/],
    [{ engineRuntime: "run c" }, 'engineRuntime: is "run c"', /./],
    [{ packages: [1] }, "packages.0: is 1", /expected string/],
    [{ modules: {} }, "modules: is {}", /expected array/],
    [{ timeoutMs: 1 }, "timeoutMs: is 1", /is no known setting/],
  ] as const) {
    it(`${JSON.stringify(settings)} names file, path, value and what is expected`, () => {
      const problems = problemsOfRuntime(settings);
      assert.equal(problems.length, 1, problems.join("\n"));
      const prefix = `${FILE}: runtimes.node.${place}: `;
      assert.ok(problems[0]!.startsWith(prefix), problems[0]);
      assert.match(problems[0]!.slice(prefix.length), expectation);
    });
  }

  for (const [settings, place, reason] of [
    [
      { permissions: { fileSystem: { read: ["../etc"] } } },
      "permissions.fileSystem.read.0",
      /"\.\.\/etc" contains "\.\."; a path stays inside the workspace/,
    ],
    [
      { permissions: { fileSystem: { write: ["/tmp"] } } },
      "permissions.fileSystem.write.0",
      /is absolute; give a path relative to the workspace/,
    ],
    [
      { permissions: { fileSystem: { read: ["data"], write: ["data/x"] } } },
      "permissions.fileSystem.write.0",
      /overlaps the read entry "data"; keep what is read and what is written apart/,
    ],
    [{ permissions: { network: { allowedPorts: ["90-80"] } } }, "permissions.network.allowedPorts.0", /are no range from 1 to 65535/],
    [
      { permissions: { system: { allowedCommands: ["ls"] } } },
      "permissions.system.allowedCommands",
      /needs a permissions\.system\.maxProcesses above 1/,
    ],
    [{ permissions: { system: { allowedCommands: ["node"] } } }, "permissions.system.allowedCommands", /with 1, the default, no command/],
    [
      { permissions: { fileSystem: { execute: ["/usr/lib/x"] } } },
      "permissions.fileSystem.execute",
      /needs a permissions\.system\.maxProcesses above 1/,
    ],
    [
      { permissions: { system: { allowedCommands: ["node", "git", "jq"], maxProcesses: 2 } } },
      "permissions.system.allowedCommands",
      /^nothing brings git, jq: name the Debian packages that do in "packages"$/,
    ],
    [
      { permissions: { fileSystem: { execute: ["/usr/lib/x"] }, system: { maxProcesses: 2 } } },
      "permissions.fileSystem.execute",
      /^nothing brings \/usr\/lib\/x: /,
    ],
    [{ timeout: 1000, limits: { maxTimeoutMs: 10 } }, "limits.maxTimeoutMs", /is below the runtime's timeout of 1000/],
    [{ limits: { maxMemory: "64MB" } }, "limits.maxMemory", /is below the runtime's memoryLimit of 512MB/],
  ] as const) {
    it(`${JSON.stringify(settings)} names the entry`, () => {
      const problems = problemsOfRuntime(settings);
      assert.equal(problems.length, 1, problems.join("\n"));
      const prefix = `${FILE}: runtimes.node.${place}: `;
      assert.ok(problems[0]!.startsWith(prefix), problems[0]);
      assert.match(problems[0]!.slice(prefix.length), reason);
    });
  }

  it("is reported at once with all others, of every runtime", () => {
    const problems = problemsOf(JSON.stringify({ runtimes: { a: { timeout: 0, language: "x" }, b: { memoryLimit: 1 } } }));
    assert.deepEqual(
      problems.map((problem) => problem.split(": ")[1]),
      ["runtimes.a.language", "runtimes.a.timeout", "runtimes.b.memoryLimit"],
    );
    const paths = problemsOf(
      JSON.stringify({ runtimes: { a: { permissions: { fileSystem: { read: [".."] } } }, b: { limits: { maxMemory: "64MB" } } } }),
    );
    assert.equal(paths.length, 2);
  });

  it("that is long is cut in the message", () => {
    const [problem] = problemsOfRuntime({ version: "9".repeat(5000) });
    assert.ok(problem!.length < 300, problem);
  });
});

describe("runtimes-file: what a runtime becomes", () => {
  it("has defaults for all that is left out: nothing but to compute", () => {
    const { runtimes, warnings } = parseRuntimes('{"runtimes": {"bare": {}}}', FILE);
    const bare = runtimes.get("bare")!;
    assert.deepEqual(warnings, []);
    assert.deepEqual(bare.permissions, {
      fileSystem: { read: [], write: [], execute: [] },
      network: { allowedHosts: [], allowedPorts: [], loopback: false },
      system: { allowedCommands: [], maxProcesses: 1 },
    });
    assert.deepEqual(
      [bare.language, bare.image.nodeMajor, bare.limits.defaults.timeoutMs, bare.limits.defaults.memoryBytes],
      ["typescript", 24, 30_000, 512 * 2 ** 20],
    );
    assert.deepEqual(bare.guards, { allowedModules: ["*"], denyCodeGeneration: false });
  });

  it("keeps the order of the file: the first is the default", () => {
    const { runtimes } = parseRuntimes('{"runtimes": {"zebra": {}, "ant": {}}}', FILE);
    assert.deepEqual([...runtimes.keys()], ["zebra", "ant"]);
  });

  for (const [settings, entry] of [
    [{ permissions: { network: { allowedHosts: ["localhost"] } } }, "permissions.network.allowedHosts"],
  ] as const) {
    it(`cannot run as long as ${entry} cannot be enforced, and says so`, () => {
      const { runtimes } = parseRuntimes(JSON.stringify({ runtimes: { node: settings } }), FILE);
      const { permissions, unavailable: whatever } = runtimes.get("node")!;
      const unavailable = [...whatever, ...findUnsupported(permissions)];
      assert.equal(unavailable.length, 1);
      assert.match(unavailable[0]!, new RegExp(`^${entry.replaceAll(".", "\\.")}: .*(leave it empty|outputFiles)$`));
    });
  }

  it("has an image with exactly the commands and helpers that it grants, and Node without asking", () => {
    const settings = {
      packages: ["jq", "git"],
      permissions: {
        fileSystem: { execute: ["/usr/lib/git-core"] },
        system: { allowedCommands: ["node", "jq", "git", "jq"], maxProcesses: 4 },
      },
    };
    const { image, permissions } = parseRuntimes(JSON.stringify({ runtimes: { node: settings } }), FILE).runtimes.get("node")!;
    assert.deepEqual(image.executables, ["/usr/lib/git-core", "git", "jq"]);
    assert.deepEqual(findUnsupported(permissions), []);
  });

  for (const [setting, entries] of [
    ["packages", ["jq", "g++", "libstdc++6", "python3.11", "0ad", "jq=1.6-2.1+deb12u3", "git=1:2.39.5-0+deb12u3", "xz=1.0~rc1"]],
    [
      "modules",
      ["lodash", "JSONStream", "@scope/name", "a@4", "@scope/name@^1.2", "b@>=1 <2", "c@1.x || 2", "d@latest", "e@1.0.0-rc.1+b", "f@*"],
    ],
  ] as const) {
    for (const entry of entries) {
      it(`takes ${JSON.stringify(entry)} among its ${setting}`, () => {
        const { image } = parseRuntimes(JSON.stringify({ runtimes: { node: { [setting]: [entry] } } }), FILE).runtimes.get("node")!;
        assert.deepEqual(image[setting], [entry]);
      });
    }
  }

  for (const [setting, entries] of [
    [
      "packages",
      [
        "",
        "-y",
        "--download-only",
        "git-",
        "Git",
        "a b",
        "a;b",
        "./x.deb",
        "/tmp/x.deb",
        "git/stable",
        "xz*",
        "xz=",
        "xz=-1",
        "xz=$(id)",
        "x",
      ],
    ],
    [
      "modules",
      [
        "",
        "-g",
        "--foo",
        "./x",
        "../x",
        "/x",
        "file:x",
        "x@file:y",
        "x@npm:y",
        "git+https://x/y",
        "x@git+ssh://y",
        "a/b",
        "x@https://y/z.tgz",
      ],
    ],
    ["modules", ["github:a/b", "x@a/b", "@scope", "@/x", "_x", ".x", "x@", "x@-1", "x y", "x@1;2", "x\u0000y", "x".repeat(300)]],
  ] as const) {
    for (const entry of entries) {
      it(`refuses ${JSON.stringify(entry).slice(0, 40)} among its ${setting}`, () => {
        const problems = problemsOfRuntime({ [setting]: [entry] });
        assert.equal(problems.length, 1, problems.join("\n"));
        assert.match(problems[0]!, new RegExp(`${setting}\\.0: is .*expected (the name of a Debian package|an npm module)`));
      });
    }
  }

  it("has no package and no module twice, whatever their versions", () => {
    assert.match(problemsOfRuntime({ packages: ["jq", "git", "jq=1"] }).join(), /packages\.2: is "jq=1": "jq" is there twice$/);
    assert.match(problemsOfRuntime({ modules: ["@a/b", "@a/b@2"] }).join(), /modules\.1: is "@a\/b@2": "@a\/b" is there twice$/);
  });

  it("may bring packages for their data, and processes for Node alone", () => {
    for (const settings of [{ packages: ["tzdata"] }, { permissions: { system: { allowedCommands: ["node"], maxProcesses: 2 } } }]) {
      const { image } = parseRuntimes(JSON.stringify({ runtimes: { node: settings } }), FILE).runtimes.get("node")!;
      assert.deepEqual(image.executables, []);
    }
  });

  for (const [version, major, warning] of [
    ["24", 24],
    ["v24", 24],
    ["24.1.0", 24],
    ["22.11", 22],
    ["26", 26],
    ["0.12", 22, /Node 0 is past its end of life; programs run on Node 22$/],
    ["18", 22, /Node 18 is past its end of life; programs run on Node 22$/],
    ["20", 22, /Node 20 is past its end of life/],
    ["21", 22, /Node 21 is past its end of life/],
    ["23", 24, /Node 23 has no long-term support; programs run on Node 24$/],
    ["25", 26, /Node 25 has no long-term support; programs run on Node 26$/],
    ["27", 26, /Node 27 is newer than what there are images for; programs run on Node 26$/],
    ["99", 26, /Node 99 is newer/],
  ] as const) {
    it(`of version ${version} runs on Node ${major}, ${warning === undefined ? "without" : "with"} a warning`, () => {
      const { runtimes, warnings } = parseRuntimes(JSON.stringify({ runtimes: { node: { version } } }), FILE);
      assert.equal(runtimes.get("node")!.image.nodeMajor, major);
      assert.equal(warnings.length, warning === undefined ? 0 : 1);
      if (warning !== undefined) assert.match(warnings[0]!, warning);
    });
  }
});
