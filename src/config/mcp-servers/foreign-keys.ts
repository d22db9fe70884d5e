/**
 * Keys that config/mcp-servers.json does not have. Entries are pasted from other MCP clients, so what only these know is a warning. But
 * a slip, or another client's word for something that is here too, is an error: ignored, it would leave a server without its
 * credentials, or its tools without their limits.
 */

import { closest } from "../../lib/similar.ts";

/** Other clients' words, and what to write here. */
const OTHER_WORDS: ReadonlyMap<string, string> = new Map([
  ["environment", "env"],
  ["environmentVariables", "env"],
  ["envVars", "env"],
  ["envFile", "env, with ${NAME} for each variable that the environment of the service has"],
  ["cmd", "command and args"],
  ["executable", "command"],
  ["workingDirectory", "cwd"],
  ["workdir", "cwd"],
  ["serverUrl", "url"],
  ["httpUrl", "url"],
  ["baseUrl", "url"],
  ["endpoint", "url"],
  ["requestHeaders", "headers"],
  ["httpHeaders", "headers"],
  ["allow", "tools.allow"],
  ["allowedTools", "tools.allow"],
  ["enabledTools", "tools.allow"],
  ["includeTools", "tools.allow"],
  ["deny", "tools.deny"],
  ["deniedTools", "tools.deny"],
  ["disabledTools", "tools.deny"],
  ["excludeTools", "tools.deny"],
  ["requestsPerMinute", "rateLimit.requestsPerMinute"],
  ["maxConcurrent", "rateLimit.maxConcurrent"],
]);

/** What other clients know and this one has no use for; with what to do, where there is something. */
const FOREIGN: ReadonlyMap<string, string> = new Map([
  ["alwaysAllow", "programs may call what tools.allow lists"],
  ["autoApprove", "programs may call what tools.allow lists"],
  ["trust", "programs may call what tools.allow lists"],
  ["timeout", "other clients count it in seconds or in milliseconds; write timeoutMs"],
  ["transport", "the transport goes by command and url; write type to name it"],
  ["transportType", "the transport goes by command and url; write type to name it"],
  ["auth", "write headers for a token"],
  ["oauth", "there is nobody to log in; write headers for a token"],
]);

/** What to say of a key that is not known here. */
export interface UnknownKey {
  readonly isError: boolean;
  readonly message: string;
}

/** Judges the keys of an object that are none of `known`. */
export function judgeKeys(object: object, known: readonly string[]): { readonly key: string; readonly said: UnknownKey }[] {
  return Object.keys(object)
    .filter((key) => !known.includes(key))
    .map((key) => ({ key, said: judge(key, known) }));
}

function judge(key: string, known: readonly string[]): UnknownKey {
  const meant = OTHER_WORDS.get(key);
  if (meant !== undefined) return { isError: true, message: `is no setting here; write ${meant}` };
  const hint = FOREIGN.get(key);
  if (hint !== undefined) return { isError: false, message: `is ignored: ${hint}` };
  const near = closest(key, known);
  if (near !== undefined) return { isError: true, message: `is no known setting; write ${near}` };
  return { isError: false, message: "is no setting of Code Mode and is ignored" };
}
