/**
 * What a program can execute beside the runtime itself: names of commands, and absolute paths of helpers that these need. Pure.
 *
 * A granted command can do all that it can do: its arguments are not looked at, and an interpreter counts as every program that can be
 * written for it.
 */

/** The part of permissions that names what can be executed. */
interface CommandPermissions {
  readonly fileSystem: { readonly execute: readonly string[] };
  readonly system: { readonly allowedCommands: readonly string[] };
}

/** The runtime's own command. It is in every image, and whoever can start a process can start it: nothing grants or masks it. */
export const RUNTIME_COMMAND = "node";

/** Most names that Debian's packages install, and `[`. */
const COMMAND_NAME = /^[A-Za-z0-9_[][A-Za-z0-9_.+[-]*$/;

/** What is wrong with a command's name, or `undefined`. */
export function findCommandFault(name: string): string | undefined {
  if (name.includes("/")) return "is a path; write the name alone, or name the file in fileSystem.execute";
  if (/\s/.test(name)) return "holds a blank; write the name alone: what a command is called with cannot be limited";
  return COMMAND_NAME.test(name) ? undefined : "is no name of a command: letters, digits, and . _ + - behind the first";
}

/** What packages must bring for these permissions, and what is masked unless it is in here: names of commands, and absolute paths. */
export function executablesOf({ fileSystem, system }: CommandPermissions): string[] {
  return [...system.allowedCommands.filter((name) => name !== RUNTIME_COMMAND), ...fileSystem.execute];
}
