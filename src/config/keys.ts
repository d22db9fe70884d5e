/** The keys of the service: those of the environment and those of the keys file, together. */

import { hashKey } from "../domain/caller.ts";
import type { ApiKey } from "../domain/caller.ts";
import { StartupError } from "../domain/errors.ts";
import type { QuickStartKey, ServiceConfig } from "./environment.ts";
import { describeEntry, readKeysFile } from "./keys-file.ts";
import type { KeyEntry } from "./keys-file.ts";

export type KeySettings = Pick<ServiceConfig, "keys" | "keysFile" | "keysFileIsNamed">;

export interface LoadedKeys {
  /** `undefined` where keys were never set up; an empty list means that nobody gets in. */
  readonly keys: readonly ApiKey[] | undefined;
  /** Whether there is a keys file. */
  readonly hasFile: boolean;
  readonly warnings: readonly string[];
}

/** Reads and checks all keys. Throws a {@link StartupError} that lists every problem. */
export async function loadKeys(settings: KeySettings): Promise<LoadedKeys> {
  const { keys: quickStart, keysFile, keysFileIsNamed } = settings;
  const file = await readKeysFile(keysFile);
  if (file === undefined && keysFileIsNamed) {
    throw new StartupError([
      `environment: CODE_MODE_API_KEYS_FILE: there is no file ${keysFile}. Make a key with \`code-mode keys add NAME\`, or leave the variable out`,
    ]);
  }
  const problems = findClashes(file?.keys ?? [], quickStart).map((problem) => `${keysFile}: ${problem}`);
  if (problems.length > 0) throw new StartupError(problems);
  const keys = [...quickStartKeys(quickStart), ...(file?.keys ?? [])];
  const isSetUp = file !== undefined || quickStart.length > 0;
  return { keys: isSetUp ? keys : undefined, hasFile: file !== undefined, warnings: file?.warnings ?? [] };
}

export const quickStartKeys = (keys: readonly QuickStartKey[]): ApiKey[] =>
  keys.map(({ key, name }) => ({ name, sha256: hashKey(key), scopes: ["execute"] }));

/** Entries of the file that share a name or a key with the environment. */
export function findClashes(entries: readonly KeyEntry[], quickStart: readonly QuickStartKey[]): string[] {
  const problems: string[] = [];
  for (const { name, sha256 } of quickStartKeys(quickStart)) {
    const namesake = entries.findIndex((entry) => entry.name === name);
    const twin = entries.findIndex((entry) => entry.sha256 === sha256);
    if (namesake >= 0) problems.push(`${describeEntry(entries, namesake)}: name: CODE_MODE_API_KEYS has it too; take one of the two out`);
    if (twin >= 0)
      problems.push(`${describeEntry(entries, twin)}: sha256: it is the key "${name}" of CODE_MODE_API_KEYS; take one of the two out`);
  }
  return problems;
}
