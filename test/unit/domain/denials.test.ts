/** Which setting would allow what was refused. */

import assert from "node:assert/strict";

import { DENIAL_REASONS, DENIALS, explainDenials } from "../../../src/domain/denials.ts";
import type { DenialReason } from "../../../src/domain/denials.ts";
import { denialSchema } from "../../../src/domain/execution.ts";
import { policyOf } from "../support/policies.ts";

const SETTINGS = {
  permissions: {
    fileSystem: { read: ["./data", "./config"], write: ["./temp", "./out"], execute: ["/usr/lib/git-core/git-remote-https"] },
    network: { allowedHosts: ["example.com", "example.org"], allowedPorts: [80, 443], loopback: true },
    system: { allowedCommands: ["git", "jq"], maxProcesses: 4 },
  },
  packages: ["git", "jq"],
};
const NARROWED = {
  fileSystem: { read: ["./data/in"], write: ["./temp"], execute: [] },
  network: { allowedHosts: ["example.com"], loopback: false },
  system: { allowedCommands: ["jq"], maxProcesses: 1 },
};

const AT = "runtimes.node.";
const PERMISSIONS = `${AT}permissions.`;

function settingOf(reason: DenialReason, what: string | null, policy = policyOf()): string | undefined {
  const [denial, ...more] = explainDenials([{ reason, what, count: 1 }], policy);
  assert.deepEqual(more, []);
  return denial?.setting;
}

describe("denials: the setting that would allow it", () => {
  for (const [reason, what, expected] of [
    ["not_readable", "other/a", `${PERMISSIONS}fileSystem.read`],
    ["not_readable", "/proc/1/mem", /^none: what is outside of the workspace/],
    ["not_there", "other/a", `${PERMISSIONS}fileSystem.read`],
    ["not_there", "/etc/shadow", undefined],
    ["not_writable", "other/a", `${PERMISSIONS}fileSystem.write`],
    ["not_writable", ".", `${PERMISSIONS}fileSystem.write`],
    ["not_writable", "/tmp/a", /^none: outside of the workspace nothing can be written; runtimes\.node\.permissions\.fileSystem\.write/],
    ["not_executable", "other/a", /^none: files of the workspace are never executed/],
    ["not_executable", "/usr/bin/git", /^runtimes\.node\.permissions\.system\.allowedCommands for a command, fileSystem\.execute/],
    ["command_not_available", "git", /^runtimes\.node\.permissions\.system\.allowedCommands, and packages/],
    ["no_new_processes", "git", /^runtimes\.node\.permissions\.system\.maxProcesses above 1/],
    ["too_many_processes", "git", `${PERMISSIONS}system.maxProcesses`],
    ["not_permitted", "setuid", /^none: /],
    ["native_code", "a native add-on", /^none .*runtimes\.node\.modules/],
    ["no_network", "example.com:80", `${PERMISSIONS}network.allowedHosts and allowedPorts`],
    ["no_network", "example.com", `${PERMISSIONS}network.allowedHosts and allowedPorts`],
    ["no_network", "10.127.0.1:80", `${PERMISSIONS}network.allowedHosts and allowedPorts`],
    ["no_network", "localhost.example.com:80", `${PERMISSIONS}network.allowedHosts and allowedPorts`],
    ["no_network", "localhost:80", /^runtimes\.node\.permissions\.network\.loopback, for .*allowedHosts and allowedPorts, for/],
    ["no_network", "127.0.0.1:8001", /loopback/],
    ["no_network", "[::1]:8001", /loopback/],
    ["no_network", "api.localhost:80", /loopback/],
    ["no_listening", "0.0.0.0:80", `${PERMISSIONS}network.loopback`],
    ["privileged_port", "0.0.0.0:80", /^none: /],
    ["no_udp", "udp 0.0.0.0", /^none: /],
    ["module_not_allowed", "net", `${AT}allowedModules`],
    ["module_not_in_image", "lodash", /^runtimes\.node\.modules/],
    ["code_from_strings", "code from a string", `${AT}deniedOperations`],
  ] as const) {
    it(`${reason} ${what}: ${String(expected)}`, () => {
      const setting = settingOf(reason, what);
      if (expected instanceof RegExp) assert.match(setting ?? "", expected);
      else assert.equal(setting, expected);
    });
  }

  describe("where the runtime grants it, and the request left it out", () => {
    const policy = policyOf(SETTINGS, { permissions: NARROWED });
    for (const [reason, what, expected] of [
      ["not_readable", "data/a", /^permissions\.fileSystem\.read of the request/],
      ["not_readable", "data/in/a", /^none: the file's mode on the host/],
      ["not_readable", "temp/a", /^none: the folder is writable/],
      ["not_there", "config/a", /^permissions\.fileSystem\.read of the request/],
      ["not_there", "out/a", /^permissions\.fileSystem\.read of the request/],
      ["not_there", "data/in/a", undefined],
      ["not_there", "temp/a", undefined],
      ["not_there", "temporary/a", /^runtimes\.node/],
      ["not_writable", "out/a", /^permissions\.fileSystem\.write of the request/],
      ["not_writable", "temp/a", /^none: the folder is writable/],
      ["not_writable", "data/a", /^runtimes\.node\.permissions\.fileSystem\.write, for a folder outside of those/],
      ["not_executable", "/usr/lib/git-core/git-remote-https", /^permissions\.fileSystem\.execute of the request/],
      ["not_executable", "out/a", /^none: files of the workspace are never executed/],
      ["not_executable", "/usr/bin/git", /^permissions\.system\.allowedCommands of the request/],
      ["not_executable", "/usr/bin/jq", /^runtimes\.node/],
      ["command_not_available", "git", /^permissions\.system\.allowedCommands of the request/],
      ["command_not_available", "/bin/sh -c git", /^runtimes\.node/],
      ["no_new_processes", "jq", /^permissions\.system\.maxProcesses of the request/],
      ["no_network", "localhost:80", /^permissions\.network\.loopback of the request/],
      ["no_network", "example.org:80", /^permissions\.network of the request/],
      ["no_listening", "0.0.0.0:8080", /^permissions\.network\.loopback of the request/],
    ] as const) {
      it(`${reason} ${what}: ${String(expected)}`, () => {
        const setting = settingOf(reason, what, policy);
        if (expected === undefined) assert.equal(setting, undefined);
        else assert.match(setting ?? "", expected);
      });
    }
  });

  it("is none for a process with rights that no sandbox has", () => {
    assert.equal(settingOf("no_new_processes", "jq", policyOf(SETTINGS)), "none: no sandbox has that right");
  });

  it("is told in the order of the notes, with a count where there were several", () => {
    assert.deepEqual(
      explainDenials(
        [
          { reason: "module_not_allowed", what: "net", count: 1 },
          { reason: "not_there", what: "/etc/shadow", count: 1 },
          { reason: "no_udp", what: "udp 0.0.0.0", count: 3 },
          { reason: "module_not_allowed", what: null, count: 7 },
          { reason: "not_there", what: null, count: 7 },
        ],
        policyOf(),
      ),
      [
        { kind: "module", what: "net", setting: `${AT}allowedModules` },
        { kind: "network", what: "udp 0.0.0.0", setting: "none: no sandbox has UDP", count: 3 },
        { kind: "module", what: "others", setting: `${AT}allowedModules`, count: 7 },
      ],
    );
  });

  it("shows no control character, and no text that is none", () => {
    const [denial] = explainDenials([{ reason: "not_readable", what: 'a\u001b[2J\n\u0085\u2028\ud800"b', count: 1 }], policyOf());
    assert.equal(denial?.what, 'a\\u001b[2J\\n\\u0085\\u2028\\ud800\\"b');
  });

  it("has an answer for every reason, whatever it is about", () => {
    for (const reason of DENIAL_REASONS) {
      assert.ok(DENIALS[reason].rules.length > 0);
      for (const what of ["", ".", "a", "/", "/a b", "../../etc", "localhost", "__proto__", "$&", "\u0000"]) {
        for (const denial of explainDenials([{ reason, what, count: 1 }], policyOf(SETTINGS, { permissions: NARROWED }))) {
          assert.ok(denialSchema.safeParse(denial).success);
          assert.match(denial.setting, /^(?:none|runtimes\.node\.|permissions\.)/);
          assert.doesNotMatch(denial.setting, /<runtime>/);
        }
      }
    }
  });
});
