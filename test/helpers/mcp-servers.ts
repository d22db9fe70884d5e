/** Entries of mcp-servers.json for the servers that tests talk to. */

import { createRequire } from "node:module";
import path from "node:path";

import { packageRoot } from "../../src/lib/package-info.ts";

const tsx = createRequire(import.meta.url).resolve("tsx");

/** A program of the tests' own in TypeScript, run from wherever the service is. */
const program = (file: string): { command: string; args: string[] } => ({
  command: process.execPath,
  args: ["--import", tsx, path.join(packageRoot, "test/fixtures", file)],
});

/** No test is to meet a limit by chance. */
const NO_LIMITS = { rateLimit: { requestsPerMinute: 1_000_000, maxConcurrent: 100 } };

/** The names by which programs of the integration plan call AutoMem. */
const AUTOMEM_NAMES = {
  aliases: { recall: "recall_memory" },
  arguments: { store_memory: ["content", "importance", "tags"], recall_memory: ["query", "limit"] },
} as const;

export const AUTOMEM_FALLBACK = {
  mode: "mock",
  responses: { recall_memory: { mock: true, results: [], count: 0 }, store_memory: { mock: true, stored: false } },
} as const;

/** AutoMem's MCP server over stdio, in front of the service at `apiUrl`. */
export const autoMemStdio = (apiUrl: string, apiKey: string): object => ({
  ...program("automem/stdio.ts"),
  env: { AUTOMEM_API_URL: apiUrl, AUTOMEM_API_KEY: apiKey },
  ...AUTOMEM_NAMES,
  ...NO_LIMITS,
});

/** Its flavour over HTTP. */
export const autoMemHttp = (url: string, token: string): object => ({
  type: "http",
  url,
  headers: { Authorization: `Bearer ${token}` },
  ...AUTOMEM_NAMES,
  ...NO_LIMITS,
});

export const labServer = (secret = "none"): object => ({ ...program("lab-server.ts"), env: { LAB_SECRET: secret }, ...NO_LIMITS });

/** A server of the packages that are there for tests. */
const installed = (name: string, ...args: string[]): object => ({
  command: process.execPath,
  args: [path.join(packageRoot, "node_modules/@modelcontextprotocol", name, "dist/index.js"), ...args],
  ...NO_LIMITS,
});
export const filesystemServer = (folder: string): object => installed("server-filesystem", folder);
export const memoryServer = (file: string): object => ({ ...installed("server-memory"), env: { MEMORY_FILE_PATH: file } });
export const everythingServer = (): object => installed("server-everything", "stdio");
