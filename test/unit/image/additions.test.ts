/** From packages and modules to the entries of an image: what is kept, what can be executed, by whom. */

import assert from "node:assert/strict";
import { grantExecutables } from "../../../src/sandbox/docker/image/executables.ts";
import { FilePool } from "../../../src/sandbox/docker/image/file-pool.ts";
import { poolEntries } from "../../../src/sandbox/docker/image/pool-entries.ts";
import { elf, type TarEntry, tarOf } from "./tars.ts";

const binary = (name: string, marker = name): TarEntry => ({ name, mode: 0o755, content: elf({ type: "shared", marker }) });
const script = (name: string, content: string): TarEntry => ({ name, mode: 0o755, content });
const data = (name: string, mode = 0o644): TarEntry => ({ name, mode, content: name });
const link = (name: string, linkname: string): TarEntry => ({ name, type: "symlink", linkname });

interface Made {
  /** What an entry is: mode and group, or where a link leads. */
  readonly entries: Readonly<Record<string, string>>;
  readonly groups: Readonly<Record<string, readonly number[]>>;
}

/** What becomes of the files of a package. */
async function make(files: readonly TarEntry[], executables: readonly string[] = [], modules: Record<string, Buffer> = {}): Promise<Made> {
  const pool = new FilePool();
  await pool.addPackage(tarOf(...files));
  for (const [path, content] of Object.entries(modules)) pool.addModuleFile(path, content);
  pool.mergeCopies();
  const grants = grantExecutables(pool, executables);
  const entries = poolEntries(pool, grants, (path) => path === "usr/lib/x/libc.so.6").map((entry) => {
    const said = entry.type === "symlink" ? `-> ${entry.target}` : `${entry.mode.toString(8)}${"gid" in entry ? ` ${entry.gid}` : ""}`;
    return [entry.path, said] as const;
  });
  return { entries: Object.fromEntries(entries), groups: Object.fromEntries(grants.groups) };
}

const refusal = (message: RegExp): { reason: string; message: RegExp } => ({ reason: "executable_missing", message });

describe("Sandbox image: the data of packages", () => {
  it("is readable by everybody and executable by nobody, whatever the package says", async () => {
    const { entries } = await make([
      data("./usr/share/x/table.txt", 0o600),
      data("./usr/lib/x/libx.so.1", 0o755),
      { name: "./usr/share/x/set", mode: 0o4644, uid: 5, gid: 7, content: "x" },
      link("./usr/lib/x/libx.so", "libx.so.1"),
      data("./etc/x.conf"),
    ]);
    assert.deepEqual(entries, {
      "etc/x.conf": "644",
      "usr/lib/x/libx.so.1": "644",
      "usr/lib/x/libx.so": "-> libx.so.1",
      "usr/share/x/set": "644",
      "usr/share/x/table.txt": "644",
    });
  });

  for (const path of [
    ...["usr/share/man/man1/x.1", "usr/share/info/x", "usr/share/locale/de/x.mo", "usr/share/doc/x/README", "usr/share/doc/x/a/copyright"],
    ...["usr/lib/systemd/system/x.service", "lib/systemd/system/x.service", "lib/udev/rules.d/x", "usr/share/bash-completion/x"],
    ...["etc/init.d/x", "etc/systemd/x", "etc/cron.daily/x", "etc/cron.d/x", "etc/default/x", "etc/pam.d/x", "etc/sudoers.d/x"],
    ...[
      "etc/passwd",
      "etc/group",
      "etc/shadow",
      "etc/hosts",
      "etc/resolv.conf",
      "etc/nsswitch.conf",
      "etc/ld.so.preload",
      "etc/ld.so.conf",
    ],
    ...[
      "etc/ld.so.conf.d/x.conf",
      "var/lib/x",
      "boot/x",
      "dev/x",
      "proc/x",
      "sys/x",
      "run/code-mode/x",
      "tmp/x",
      "home/x",
      "root/x",
      "srv/x",
    ],
    ...[
      "opt/code-mode/runner.cjs",
      "workspace/x",
      "node_modules/x/index.js",
      "usr/local/bin/node",
      "usr/local/lib/x",
      "x",
      "usr/lib/x/.wh.y",
    ],
    ...["./usr/../opt/code-mode/x", "/opt/x", "usr/share/.wh.x/y"],
  ]) {
    it(`does not come from /${path}`, async () => {
      assert.deepEqual((await make([data(path)])).entries, {});
    });
  }

  for (const [target, name] of [
    ["../../etc", "ld.so.preload"],
    ["../../etc", "passwd"],
    ["/usr/local/bin", "node"],
    ["/opt/code-mode", "package.json"],
    ["/node_modules", "x.js"],
    ["/", "x"],
  ] as const) {
    it(`does not come to ${target} through a link of the package, as ${name}`, async () => {
      const { entries } = await make([link("./usr/lib/evil", target), data(`./usr/lib/evil/${name}`)]);
      assert.deepEqual(entries, {});
    });
  }

  it("keeps copyright notes, also where a folder is a link to another one", async () => {
    const { entries } = await make([data("./usr/share/doc/x/copyright"), link("./usr/share/doc/y", "x")]);
    assert.deepEqual(entries, { "usr/share/doc/x/copyright": "644", "usr/share/doc/y": "-> x" });
  });

  it("is not added where the base has it, and not devices, FIFOs and empty folders", async () => {
    const { entries } = await make([
      data("./usr/lib/x/libc.so.6"),
      { name: "./usr/lib/x/null", type: "character-device", devmajor: 1, devminor: 3 },
      { name: "./usr/lib/x/fifo", type: "fifo" },
      { name: "./usr/lib/x/", type: "directory" },
    ]);
    assert.deepEqual(entries, {});
  });

  it("has no links that lead nowhere, out of the image, in circles, or to what is left out", async () => {
    const { entries } = await make([
      binary("./usr/bin/x"),
      ...[link("./usr/lib/a", "nothing"), link("./usr/lib/b", "../../../../etc/passwd"), link("./usr/lib/c", "/etc/alternatives/x")],
      ...[link("./usr/lib/d", "e"), link("./usr/lib/e", "d"), link("./usr/lib/f", "/usr/bin/x"), link("./usr/lib/g", "/")],
      link("./usr/lib/h", "../../opt/code-mode/runner.cjs"),
    ]);
    assert.deepEqual(entries, {});
  });

  it("stands where a link of another package puts its folder", async () => {
    const { entries } = await make([link("./usr/share/x", "y"), data("./usr/share/x/one"), data("./usr/share/y/two")]);
    assert.deepEqual(entries, { "usr/share/x": "-> y", "usr/share/y/one": "644", "usr/share/y/two": "644" });
  });
});

describe("Sandbox image: the programs of packages", () => {
  it("are left out, with what leads to them", async () => {
    const { entries } = await make([
      ...[binary("./usr/bin/curl"), script("./usr/bin/tool", "#!/bin/sh\n"), script("./usr/lib/x/odd", "no interpreter")],
      ...[
        binary("./sbin/y"),
        link("./usr/bin/other", "curl"),
        { name: "./usr/bin/hard", type: "link", linkname: "./usr/bin/curl" } as const,
      ],
    ]);
    assert.deepEqual(entries, {});
  });

  it("are left out without the right to be executed too, when the loader would run them", async () => {
    const { entries } = await make([
      { name: "./usr/lib/x/helper", mode: 0o644, content: elf({ type: "shared" }) },
      { name: "./usr/lib/x/fixed.so", mode: 0o644, content: elf({ type: "executable" }) },
      { name: "./usr/lib/x/lib.so", mode: 0o755, content: elf({ type: "shared" }) },
    ]);
    assert.deepEqual(entries, { "usr/lib/x/lib.so": "644" });
  });

  it("are there when they are named, each file for a group of its own that cannot read it", async () => {
    const { entries, groups } = await make([binary("./usr/bin/git"), binary("./bin/jq"), binary("./usr/bin/curl")], ["jq", "git"]);
    assert.deepEqual(entries, { "usr/bin/git": "710 60706", "usr/bin/jq": "710 60707", bin: "-> usr/bin" });
    assert.deepEqual(groups, { git: [60_706], jq: [60_707] });
  });

  it("are found in the folders of commands, in order, and by path", async () => {
    const files = [
      binary("./usr/bin/a"),
      binary("./usr/sbin/a"),
      binary("./usr/games/b"),
      binary("./usr/lib/c/d"),
      binary("./usr/lib/c/e/f"),
    ];
    const { entries, groups } = await make(files, ["a", "b", "/usr/lib/c/d", "/usr/lib/c", "/usr/sbin/a"]);
    assert.deepEqual(groups, {
      a: [60_706],
      b: [60_707],
      "/usr/lib/c/d": [60_708],
      "/usr/lib/c": [60_708, 60_709],
      "/usr/sbin/a": [60_710],
    });
    assert.equal(Object.keys(entries).length, 7);
  });

  it("of several names are one file with one group: links, hard links, copies", async () => {
    const { entries, groups } = await make(
      [
        binary("./usr/bin/git", "same"),
        binary("./usr/lib/git-core/git", "same"),
        link("./usr/lib/git-core/git-add", "git"),
        link("./usr/bin/git-shell", "/bin/git"),
        { name: "./usr/bin/hard", type: "link", linkname: "./usr/bin/git" },
      ],
      ["git-shell", "/usr/lib/git-core", "hard"],
    );
    assert.deepEqual(groups, { "git-shell": [60_706], "/usr/lib/git-core": [60_706], hard: [60_706] });
    assert.deepEqual(entries, {
      "usr/bin/git": "710 60706",
      "usr/bin/git-shell": "-> git",
      "usr/bin/hard": "-> git",
      "usr/lib/git-core/git": "-> ../../bin/git",
      "usr/lib/git-core/git-add": "-> ../../bin/git",
      bin: "-> usr/bin",
    });
  });

  it("lose set-uid and set-gid bits", async () => {
    const { entries } = await make([{ ...binary("./usr/bin/su"), mode: 0o6755 }], ["su"]);
    assert.equal(entries["usr/bin/su"], "710 60706");
  });

  it("that are scripts can be read by their group, and need their interpreter", async () => {
    const files = [script("./usr/bin/tool", "#!/bin/sh -e\n:"), binary("./bin/dash"), link("./bin/sh", "dash")];
    const { entries, groups } = await make(files, ["tool", "dash"]);
    assert.deepEqual(groups, { dash: [60_706], tool: [60_707] });
    assert.equal(entries["usr/bin/tool"], "750 60707");
    await assert.rejects(
      make(files, ["tool"]),
      refusal(/"\/usr\/bin\/tool" is a script for \/bin\/sh, which cannot be executed\. Allow "sh" too/),
    );
  });

  for (const [line, executables, problem] of [
    ["#!/usr/bin/env python3", ["tool", "env"], /for python3, which/],
    ["#!/usr/bin/env python3", ["tool", "python3"], /for \/usr\/bin\/env, which/],
    ["#!/usr/bin/env -S LANG=C python3 -u", ["tool", "env"], /for python3, which/],
    ["#! /usr/bin/env python3", ["tool", "env", "python3"], undefined],
    ["#!/usr/bin/env node", ["tool", "env"], undefined],
    ["#!/usr/local/bin/node", ["tool"], undefined],
    ["#!/nowhere/perl", ["tool", "python3"], /for \/nowhere\/perl, which/],
    ["no interpreter", ["tool"], undefined],
  ] as const) {
    it(`that begin with ${line} and run with ${executables.join(", ")}: ${problem === undefined ? "granted" : "refused"}`, async () => {
      const making = make([script("./usr/bin/tool", `${line}\n`), binary("./usr/bin/env"), binary("./usr/bin/python3")], executables);
      if (problem === undefined) assert.equal((await making).groups["tool"]?.length, 1);
      else await assert.rejects(making, refusal(problem));
    });
  }

  it("that no package has are an error which names each", async () => {
    const making = make(
      [binary("./usr/bin/mawk"), link("./usr/bin/awk", "/etc/alternatives/awk")],
      ["awk", "/usr/lib/nothing", "bin/x", "mawk"],
    );
    await assert.rejects(making, refusal(/^"awk" .*an alternative \(awk.*\n"\/usr\/lib\/nothing" .*\n"bin\/x" [^\n]*$/s));
  });

  it("that are data cannot be granted", async () => {
    await assert.rejects(make([data("./usr/bin/x"), data("./usr/lib/libx.so", 0o755)], ["x"]), refusal(/"x"/));
    await assert.rejects(make([data("./usr/lib/libx.so", 0o755)], ["/usr/lib/libx.so"]), refusal(/libx/));
  });

  it("include Node without a group: every sandbox executes it", async () => {
    const { entries, groups } = await make([binary("./usr/bin/node")], ["node", "/usr/local/bin/node"]);
    assert.deepEqual(groups, { node: [], "/usr/local/bin/node": [] });
    assert.deepEqual(entries, {});
  });

  it("do not include modules of a language that carry the right by habit: those are data", async () => {
    const { entries } = await make([
      script("./usr/lib/python3/pdb.py", "#!/usr/bin/python3\n"),
      script("./usr/bin/x.py", "#!/usr/bin/python3\n"),
    ]);
    assert.deepEqual(entries, { "usr/lib/python3/pdb.py": "644" });
  });
});

describe("Sandbox image: the files of npm modules", () => {
  const modules = {
    "node_modules/x/index.js": Buffer.from("#!/usr/bin/env node\n"),
    "node_modules/x/prebuilds/x.node": elf({ type: "shared" }),
    "node_modules/x/bin/tool": elf({ type: "executable" }),
  };

  it("are data, add-ons included, and their programs are left out", async () => {
    const { entries } = await make([], [], modules);
    assert.deepEqual(entries, { "node_modules/x/index.js": "644", "node_modules/x/prebuilds/x.node": "644" });
  });

  it("are executable where a path names them", async () => {
    const { entries, groups } = await make([], ["/node_modules/x/bin"], modules);
    assert.equal(entries["node_modules/x/bin/tool"], "710 60706");
    assert.deepEqual(groups, { "/node_modules/x/bin": [60_706] });
  });
});
