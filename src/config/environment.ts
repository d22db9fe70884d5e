/**
 * The environment: the only reader of `process.env`. A value that does not parse is a start-up error that names the variable.
 */

import { existsSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";

import { z } from "zod";

import type { AuditSettings } from "../domain/audit-event.ts";
import { ANONYMOUS } from "../domain/caller.ts";
import { StartupError } from "../domain/errors.ts";
import { packageRoot } from "../lib/package-info.ts";
import { closest } from "../lib/similar.ts";

const integer = (min: number, max: number): z.ZodType<number> =>
  z
    .string()
    .regex(/^\d{1,12}$/, { error: "expected a whole number" })
    .transform(Number)
    .refine((value) => value >= min && value <= max, { error: `expected a number from ${min} to ${max}` });

const flag = (whenLeftOut: boolean): z.ZodType<boolean> =>
  z
    .string()
    .regex(/^(?:true|false|1|0)$/, { error: "expected true or false (or 1 or 0)" })
    .transform((value) => value === "true" || value === "1")
    .default(whenLeftOut);

/** A key without a name holds no colon: else `name:tooshort` would be taken for one. */
const KEY_PAIR = /^(?:([A-Za-z0-9_.@-]{1,64}):|(?!.*:))([\x21-\x2b\x2d-\x7e]{16,256})$/;

const listed = (text: string): string[] =>
  text
    .split(",")
    .map((entry) => entry.trim())
    .filter((entry) => entry !== "");

/** A key for a quick start, as given in the environment. */
export interface QuickStartKey {
  readonly name: string;
  readonly key: string;
}

const variables = {
  CODE_MODE_HOST: z.string().min(1).default("127.0.0.1").describe("Address to listen on. Anything but loopback needs a key"),
  CODE_MODE_PORT: integer(0, 65_535).default(3210).describe("Port to listen on; 0 takes a free one"),
  CODE_MODE_ALLOWED_HOSTS: z
    .string()
    .default("")
    .transform(listed)
    .describe("Further names that a Host or Origin header may bear, separated by commas: those of a reverse proxy"),
  CODE_MODE_CONFIG_DIR: z
    .string()
    .min(1)
    .optional()
    .describe("Folder of runtimes.json and mcp-servers.json. Default: ./config if it is there, else the one of the package"),
  CODE_MODE_WORKSPACE_ROOT: z
    .string()
    .min(1)
    .optional()
    .describe("Folder that the paths of runtimes.json are relative to. Default: workspace beside the configuration folder"),
  CODE_MODE_STATE_DIR: z
    .string()
    .min(1)
    .optional()
    .describe("Folder for the sockets and files of running executions. Default: $XDG_STATE_HOME/code-mode or ~/.local/state/code-mode"),
  CODE_MODE_API_KEYS: z
    .string()
    .default("")
    .transform((text, context): QuickStartKey[] => {
      const refuse = (message: string): void => {
        context.addIssue({ code: "custom", message });
      };
      const keys = listed(text).flatMap((entry, index) => {
        const [, name = index === 0 ? "default" : `key-${index + 1}`, key] = KEY_PAIR.exec(entry) ?? [];
        if (key !== undefined) return [{ name, key }];
        refuse(`expected name:key pairs separated by commas, each key of 16 to 256 printable characters; entry ${index + 1} is none`);
        return [];
      });
      // Executions belong to the name: two keys of one name would see each other's. One key of two names would be one caller.
      for (const [index, { key, name }] of keys.entries()) {
        const earlier = keys.slice(0, index);
        if (earlier.some((other) => other.name === name)) refuse(`the name "${name}" is given to two keys; each needs a name of its own`);
        if (name === ANONYMOUS) refuse(`"${ANONYMOUS}" is who comes without a key; choose another name`);
        if (earlier.some((other) => other.key === key)) refuse(`the key of "${name}" is given twice`);
      }
      return keys;
    })
    .describe("Keys for a quick start: name:key pairs separated by commas. Each can execute, and sees its own executions"),
  CODE_MODE_API_KEYS_FILE: z
    .string()
    .min(1)
    .optional()
    .describe("File of named keys with scopes and limits, see keys.md. Default: keys.json in the configuration folder, if it is there"),
  CODE_MODE_MAX_RUNNING: integer(1, 10_000).default(16).describe("Executions that run at once"),
  CODE_MODE_MAX_STARTING: integer(1, 1000).default(4).describe("Containers that start at once"),
  CODE_MODE_MAX_QUEUED: integer(0, 100_000).default(256).describe("Executions that wait for a slot; more get QUEUE_FULL"),
  CODE_MODE_MAX_BODY_BYTES: integer(1024, 1_073_741_824)
    .default(32 * 2 ** 20)
    .describe("Largest request body"),
  CODE_MODE_SHUTDOWN_GRACE_MS: integer(0, 600_000)
    .default(10_000)
    .describe("How long a shutdown waits for running executions before it cancels them"),
  CODE_MODE_RESULT_TTL_MS: integer(0, 86_400_000)
    .default(300_000)
    .describe("How long the result of an execution can be fetched after its end"),
  MCP_CLIENT_TIMEOUT: integer(1, 3_600_000)
    .default(30_000)
    .describe("Milliseconds that a tool call may take, where mcp-servers.json says nothing else for its server"),
  MCP_SECURITY_ENABLED: flag(true).describe(
    "false turns off the servers' rate limits and the check of arguments; never what programs are kept from, the lists of tools, or the audit log",
  ),
  MCP_FALLBACK_TO_MOCK: flag(true).describe("false: no tool is answered with its configured mock while its server is down"),
  MCP_AUDIT_LOGGING: flag(true).describe("false: nothing is written to the audit log"),
  CODE_MODE_AUDIT_DIR: z.string().min(1).optional().describe("Folder of the audit log. Default: audit in the state folder"),
  CODE_MODE_AUDIT_KEY_FILE: z
    .string()
    .min(1)
    .optional()
    .describe(
      "File of the key that seals the audit log, made where there is none. Default: $XDG_CONFIG_HOME/code-mode/audit.key or ~/.config/code-mode/audit.key",
    ),
  CODE_MODE_AUDIT_FILE_BYTES: integer(4096, 2 ** 30)
    .default(16 * 2 ** 20)
    .describe("Size at which the audit log begins another file"),
  CODE_MODE_AUDIT_FILES: integer(1, 100_000).default(32).describe("Full files of the audit log that are kept"),
  CODE_MODE_AUDIT_ON_FAILURE: z
    .enum(["refuse", "continue"])
    .default("refuse")
    .describe("What becomes of new executions while the audit log cannot be written"),
  CODE_MODE_AUDIT_ARGUMENTS: flag(false).describe("true: the audit log has the arguments of tool calls too, cut where they are long"),
  DOCKER_HOST: z.string().min(1).optional().describe("The engine: unix:///path or tcp://host:port. Default: unix:///var/run/docker.sock"),
  LOG_LEVEL: z
    .enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"])
    .default("info")
    .describe("Least severe level that is logged"),
} as const;

/** The variables with their schemas and descriptions; the configuration reference is made from it. */
export const environmentSchema = z.object(variables);

/** The settings of the service, with every path absolute. */
export interface ServiceConfig {
  readonly host: string;
  readonly port: number;
  readonly allowedHosts: readonly string[];
  readonly configDir: string;
  readonly runtimesFile: string;
  readonly mcpServersFile: string;
  readonly workspaceRoot: string;
  readonly stateDir: string;
  /** The keys of the environment. */
  readonly keys: readonly QuickStartKey[];
  readonly keysFile: string;
  /** Whether the environment names the keys file: then it must be there. */
  readonly keysFileIsNamed: boolean;
  readonly maxRunning: number;
  readonly maxStarting: number;
  readonly maxQueued: number;
  readonly maxBodyBytes: number;
  readonly shutdownGraceMs: number;
  readonly resultTtlMs: number;
  /** For a tool call, where its server's configuration has no limit of its own. */
  readonly toolTimeoutMs: number;
  /** Rate limits and the check of arguments. */
  readonly toolChecks: boolean;
  readonly fallbackToMock: boolean;
  readonly audit: AuditSettings & {
    /** Whether the log has the arguments of tool calls. */
    readonly arguments: boolean;
  };
  readonly dockerHost: string | undefined;
  readonly logLevel: z.infer<typeof variables.LOG_LEVEL>;
  /** What `${NAME}` in mcp-servers.json stands for. A function, so that no credential is where settings are printed or copied. */
  readonly variable: VariableReader;
}

/** The value of a variable of the environment; one that is set to nothing counts as not set. */
export type VariableReader = (name: string) => string | undefined;

const LOOPBACK: ReadonlySet<string> = new Set(["127.0.0.1", "::1", "localhost"]);

/** Why the service must not listen there; `undefined` when it may. */
export function refuseToListen(host: string, hasKeys: boolean): string | undefined {
  return hasKeys || LOOPBACK.has(host)
    ? undefined
    : `environment: CODE_MODE_HOST: without keys the service listens on loopback only, not on ${host}. Make a key with \`code-mode keys add NAME\`, or set CODE_MODE_API_KEYS, or leave the host out.`;
}

interface EnvironmentOptions {
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** What counts for variables that are not set, in place of the general default. */
  readonly defaults?: Partial<Record<keyof typeof variables, string>>;
}

/**
 * The settings from an environment.
 *
 * Where the working directory has no configuration of its own, the one that ships with the package serves.
 * Throws a {@link StartupError} that lists every variable that does not parse.
 */
export function readEnvironment(options: EnvironmentOptions = {}): ServiceConfig {
  const { config, problems } = examineEnvironment(options);
  if (problems.length > 0) throw new StartupError(problems);
  return config;
}

/** As {@link readEnvironment}, but throws nothing: a variable that does not parse is a problem, and counts as not set. */
export function examineEnvironment(options: EnvironmentOptions = {}): { config: ServiceConfig; problems: string[] } {
  const { env = process.env, cwd = process.cwd(), defaults = {} } = options;
  // A variable that is set to nothing counts as not set, as in `CODE_MODE_PORT= code-mode serve`.
  const given: Record<string, string | undefined> = Object.fromEntries(
    Object.keys(variables).map((name) => [name, env[name] === "" ? undefined : env[name]]),
  );
  for (const [name, value] of Object.entries(defaults)) given[name] ??= value;
  const { error } = environmentSchema.safeParse(given);
  const problems = (error?.issues ?? []).map((issue) => `environment: ${issue.path.map(String).join(".")}: ${issue.message}`);
  for (const issue of error?.issues ?? []) given[String(issue.path[0])] = undefined;
  const values = environmentSchema.parse(given);
  for (const name of Object.keys(env).filter((name) => name.startsWith("CODE_MODE_") && !(name in variables))) {
    problems.push(`environment: ${name}: is no known setting`);
  }
  for (const name of Object.keys(env).filter((name) => name.startsWith("MCP_") && !(name in variables))) {
    // Other programs have variables of this kind too: only a slip is an error.
    const meant = closest(
      name,
      Object.keys(variables).filter((known) => known.startsWith("MCP_")),
    );
    if (meant !== undefined) problems.push(`environment: ${name}: is no known setting; write ${meant}`);
  }
  return { config: settingsOf(values, env, cwd), problems };
}

function settingsOf(values: z.infer<typeof environmentSchema>, env: NodeJS.ProcessEnv, cwd: string): ServiceConfig {
  const home = existsSync(path.join(cwd, "config", "runtimes.json")) ? cwd : packageRoot;
  const configDir = path.resolve(cwd, values.CODE_MODE_CONFIG_DIR ?? path.join(home, "config"));
  const userHome = env["HOME"] ?? homedir();
  const stateDir = path.resolve(
    cwd,
    values.CODE_MODE_STATE_DIR ?? path.join(env["XDG_STATE_HOME"] ?? path.join(userHome, ".local", "state"), "code-mode"),
  );
  return {
    host: values.CODE_MODE_HOST,
    port: values.CODE_MODE_PORT,
    allowedHosts: values.CODE_MODE_ALLOWED_HOSTS,
    configDir,
    runtimesFile: path.join(configDir, "runtimes.json"),
    mcpServersFile: path.join(configDir, "mcp-servers.json"),
    workspaceRoot: path.resolve(cwd, values.CODE_MODE_WORKSPACE_ROOT ?? path.join(configDir, "..", "workspace")),
    stateDir,
    keys: values.CODE_MODE_API_KEYS,
    keysFile: path.resolve(cwd, values.CODE_MODE_API_KEYS_FILE ?? path.join(configDir, "keys.json")),
    keysFileIsNamed: values.CODE_MODE_API_KEYS_FILE !== undefined,
    maxRunning: values.CODE_MODE_MAX_RUNNING,
    maxStarting: values.CODE_MODE_MAX_STARTING,
    maxQueued: values.CODE_MODE_MAX_QUEUED,
    maxBodyBytes: values.CODE_MODE_MAX_BODY_BYTES,
    shutdownGraceMs: values.CODE_MODE_SHUTDOWN_GRACE_MS,
    resultTtlMs: values.CODE_MODE_RESULT_TTL_MS,
    toolTimeoutMs: values.MCP_CLIENT_TIMEOUT,
    toolChecks: values.MCP_SECURITY_ENABLED,
    fallbackToMock: values.MCP_FALLBACK_TO_MOCK,
    audit: {
      enabled: values.MCP_AUDIT_LOGGING,
      folder: path.resolve(cwd, values.CODE_MODE_AUDIT_DIR ?? path.join(stateDir, "audit")),
      keyFile: path.resolve(
        cwd,
        values.CODE_MODE_AUDIT_KEY_FILE ?? path.join(env["XDG_CONFIG_HOME"] ?? path.join(userHome, ".config"), "code-mode", "audit.key"),
      ),
      maxFileBytes: values.CODE_MODE_AUDIT_FILE_BYTES,
      maxFiles: values.CODE_MODE_AUDIT_FILES,
      onFailure: values.CODE_MODE_AUDIT_ON_FAILURE,
      arguments: values.CODE_MODE_AUDIT_ARGUMENTS,
    },
    dockerHost: values.DOCKER_HOST,
    logLevel: values.LOG_LEVEL,
    variable: variableReader(env),
  };
}

function variableReader(env: NodeJS.ProcessEnv): VariableReader {
  const values = new Map(Object.entries(env).filter(([, value]) => value !== ""));
  return (name) => values.get(name);
}
