/**
 * What a program was refused, and which setting would allow it. Pure: a table, and the few rules that choose a row.
 *
 * The reasons come from inside the sandbox. A program can make them up: they are shown in its own result and decide nothing. The
 * settings are the service's own words.
 */

import type { Denial } from "./execution.ts";
import type { Permissions } from "./permissions.ts";
import type { EffectivePolicy } from "./runtime.ts";
import { isWithin, quotePath } from "./sandbox-path.ts";

export const DENIAL_REASONS = [
  "code_from_strings",
  "command_not_available",
  "module_not_allowed",
  "module_not_in_image",
  "native_code",
  "no_listening",
  "no_network",
  "no_new_processes",
  "no_udp",
  "not_executable",
  "not_permitted",
  "not_readable",
  "not_there",
  "not_writable",
  "privileged_port",
  "too_many_processes",
] as const;
export type DenialReason = (typeof DENIAL_REASONS)[number];

/** What the program's own process noticed. `what` is null for the number of those that it did not keep. */
export interface NotedDenial {
  readonly reason: DenialReason;
  readonly what: string | null;
  readonly count: number;
}

/** One refusal, as the rules below look at it. */
interface Refusal {
  readonly what: string;
  /** Relative to the workspace and in normal form, where `what` is a path in it. */
  readonly path: string | undefined;
  /** Of the execution. */
  readonly has: Permissions;
  /** Of its runtime. */
  readonly granted: Permissions;
}

/** A setting that would allow it, and when it is that one: the first rule of a reason that applies counts. */
export interface DenialRule {
  /** For readers. */
  readonly where: string;
  readonly applies: (refusal: Refusal) => boolean;
  /** `<runtime>` stands for the runtime's key; null where it was no refusal at all. */
  readonly setting: string | null;
}

export interface DenialReasonEntry {
  readonly kind: Denial["kind"];
  /** For readers. */
  readonly meaning: string;
  /** The last one always applies. */
  readonly rules: readonly [...DenialRule[], DenialRule];
}

const always = (setting: string): DenialRule => ({ where: "", applies: () => true, setting });

const isReadable = ({ fileSystem }: Permissions, path: string): boolean => fileSystem.read.some((entry) => isWithin(path, entry.path));
const isWritable = ({ fileSystem }: Permissions, path: string): boolean => fileSystem.write.some((entry) => isWithin(path, entry.path));

/** A rule for paths of the workspace. */
const below = (where: string, applies: (refusal: Refusal, path: string) => boolean, setting: string | null): DenialRule => ({
  where,
  applies: (refusal) => refusal.path !== undefined && applies(refusal, refusal.path),
  setting,
});

const OWN_FILE = below(
  "in a folder that the program can write",
  ({ has }, path) => isWritable(has, path),
  "none: the folder is writable; the file's own mode, owner or kind refuses it",
);
const READ_SETTINGS = [
  below(
    "in a folder that the request left out",
    ({ granted }, path) => isReadable(granted, path) || isWritable(granted, path),
    "permissions.fileSystem.read of the request, which leaves it out",
  ),
  below("elsewhere in the workspace", () => true, "runtimes.<runtime>.permissions.fileSystem.read"),
] as const;

const isLoopback = (what: string): boolean => /^(?:localhost|[^:]+\.localhost|127(?:\.\d+){3}|\[::1\]|::1)(?::\d+)?$/i.test(what);
const commandOf = (what: string): string => (what.split(" ", 1)[0] ?? "").replace(/^.*\//, "");

const COMMAND_LEFT_OUT: DenialRule = {
  where: "a command that the request left out",
  applies: ({ granted, has, what }) =>
    granted.system.allowedCommands.includes(commandOf(what)) && !has.system.allowedCommands.includes(commandOf(what)),
  setting: "permissions.system.allowedCommands of the request, which leaves it out",
};

/** Every reason that a program can be refused something for, as far as it is noticed. */
export const DENIALS: Readonly<Record<DenialReason, DenialReasonEntry>> = {
  not_readable: {
    kind: "file",
    meaning: "A file or folder was not to be read",
    rules: [
      OWN_FILE,
      below(
        "in a folder that the program can read",
        ({ has }, path) => isReadable(has, path),
        "none: the file's mode on the host does not let strangers read it",
      ),
      ...READ_SETTINGS,
      always("none: what is outside of the workspace belongs to the image or the kernel"),
    ],
  },
  not_there: {
    kind: "file",
    meaning: "A file was not there, which ended the program: what is not granted cannot be seen",
    rules: [
      below("in a folder that the program can read or write", ({ has }, path) => isReadable(has, path) || isWritable(has, path), null),
      ...READ_SETTINGS,
      { where: "outside of the workspace", applies: () => true, setting: null },
    ],
  },
  not_writable: {
    kind: "file",
    meaning: "A file or folder was not to be written, made, changed or removed",
    rules: [
      OWN_FILE,
      below(
        "in a folder that the request left out",
        ({ granted }, path) => isWritable(granted, path),
        "permissions.fileSystem.write of the request, which leaves it out",
      ),
      below(
        "in a folder that the runtime reads",
        ({ granted }, path) => isReadable(granted, path),
        "runtimes.<runtime>.permissions.fileSystem.write, for a folder outside of those under fileSystem.read",
      ),
      below("elsewhere in the workspace", () => true, "runtimes.<runtime>.permissions.fileSystem.write"),
      always("none: outside of the workspace nothing can be written; runtimes.<runtime>.permissions.fileSystem.write names folders in it"),
    ],
  },
  not_executable: {
    kind: "process",
    meaning: "A file was not to be executed",
    rules: [
      below("in the workspace", () => true, "none: files of the workspace are never executed"),
      {
        where: "a file that the request left out",
        applies: ({ granted, has, what }) => granted.fileSystem.execute.includes(what) && !has.fileSystem.execute.includes(what),
        setting: "permissions.fileSystem.execute of the request, which leaves it out",
      },
      COMMAND_LEFT_OUT,
      always("runtimes.<runtime>.permissions.system.allowedCommands for a command, fileSystem.execute for a helper that commands execute"),
    ],
  },
  command_not_available: {
    kind: "process",
    meaning: "A command is not in the sandbox, or not for this execution",
    rules: [
      COMMAND_LEFT_OUT,
      always("runtimes.<runtime>.permissions.system.allowedCommands, and packages for what the image does not have"),
    ],
  },
  no_new_processes: {
    kind: "process",
    meaning: "The program can start no process",
    rules: [
      {
        where: "the runtime lets programs start some",
        applies: ({ granted, has }) => granted.system.maxProcesses > 1 && has.system.maxProcesses === 1,
        setting: "permissions.system.maxProcesses of the request, which is 1",
      },
      {
        where: "with options that need a right, where the program can start processes",
        applies: ({ has }) => has.system.maxProcesses > 1,
        setting: "none: no sandbox has that right",
      },
      always("runtimes.<runtime>.permissions.system.maxProcesses above 1, and allowedCommands for the commands"),
    ],
  },
  too_many_processes: {
    kind: "process",
    meaning: "There are as many processes and threads as there may be",
    rules: [always("runtimes.<runtime>.permissions.system.maxProcesses")],
  },
  not_permitted: {
    kind: "process",
    meaning: "A system call is refused to every program, which ended this one",
    rules: [always("none: no sandbox has that right")],
  },
  native_code: {
    kind: "process",
    meaning: "A native add-on could not be loaded, which ended the program",
    rules: [always("none for a file of the program; runtimes.<runtime>.modules, for a package that the image build adds")],
  },
  no_network: {
    kind: "network",
    meaning: "A host was not to be reached, or its name not to be looked up",
    rules: [
      {
        where: "the sandbox's own loopback, which the request turned off",
        applies: ({ granted, has, what }) => isLoopback(what) && granted.network.loopback && !has.network.loopback,
        setting: "permissions.network.loopback of the request, which is false",
      },
      {
        where: "the sandbox's own loopback",
        applies: ({ has, what }) => isLoopback(what) && !has.network.loopback,
        setting:
          "runtimes.<runtime>.permissions.network.loopback, for a server of the program itself; network.allowedHosts and allowedPorts, for one of the host",
      },
      {
        where: "the request narrowed the hosts or ports",
        applies: ({ granted, has }) =>
          has.network.allowedHosts.length < granted.network.allowedHosts.length ||
          has.network.allowedPorts.length < granted.network.allowedPorts.length,
        setting: "permissions.network of the request, or runtimes.<runtime>.permissions.network.allowedHosts and allowedPorts",
      },
      always("runtimes.<runtime>.permissions.network.allowedHosts and allowedPorts"),
    ],
  },
  no_listening: {
    kind: "network",
    meaning: "A TCP server could not listen",
    rules: [
      {
        where: "the request turned loopback off",
        applies: ({ granted, has }) => granted.network.loopback && !has.network.loopback,
        setting: "permissions.network.loopback of the request, which is false",
      },
      always("runtimes.<runtime>.permissions.network.loopback"),
    ],
  },
  privileged_port: {
    kind: "network",
    meaning: "A TCP server could not listen on a port below 1024",
    rules: [always("none: take a port from 1024 up")],
  },
  no_udp: {
    kind: "network",
    meaning: "A UDP socket could not be made",
    rules: [always("none: no sandbox has UDP")],
  },
  module_not_allowed: {
    kind: "module",
    meaning: "A module is not in the list",
    rules: [always("runtimes.<runtime>.allowedModules")],
  },
  module_not_in_image: {
    kind: "module",
    meaning: "A package is not in the image, which ended the program",
    rules: [always("runtimes.<runtime>.modules, which the image build adds")],
  },
  code_from_strings: {
    kind: "module",
    meaning: "`eval` or `Function` made code from a string, which ended the program",
    rules: [always("runtimes.<runtime>.deniedOperations")],
  },
};

/** What was noted, as the API shows it: in that order, and with no control character left. */
export function explainDenials(noted: readonly NotedDenial[], policy: EffectivePolicy): Denial[] {
  return noted.flatMap(({ count, reason, what }) => {
    const { kind, rules } = DENIALS[reason];
    const setting = what === null ? rules.at(-1)?.setting : settingFor(rules, what, policy);
    if (setting === null || setting === undefined) return [];
    return [
      {
        kind,
        what: what === null ? "others" : quotePath(what).slice(1, -1),
        setting: setting.replaceAll("<runtime>", () => policy.runtime),
        ...(count > 1 ? { count } : {}),
      },
    ];
  });
}

function settingFor(
  rules: DenialReasonEntry["rules"],
  what: string,
  { granted, permissions: has }: EffectivePolicy,
): string | null | undefined {
  const refusal = { what, path: what.startsWith("/") ? undefined : what, has, granted };
  return rules.find((rule) => rule.applies(refusal))?.setting;
}
