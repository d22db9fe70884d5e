/**
 * What the service and `code-mode run` share: proven sandboxes, and the manager that runs programs in them. No HTTP.
 *
 * Each composition is an instance of its own: it may live beside any number of others, of the same user and state folder too.
 */

import type { Logger } from "pino";

import { AuditLog } from "./audit/audit-log.ts";
import type { ServiceConfig } from "./config/environment.ts";
import type { RuntimeDefinition } from "./domain/runtime.ts";
import { Admission } from "./execution/admission.ts";
import { ExecutionService } from "./execution/execution-service.ts";
import { ExecutionStore } from "./execution/execution-store.ts";
import { RuntimeManager } from "./execution/runtime-manager.ts";
import type { CleanupStack } from "./lib/cleanup-stack.ts";
import { packageRoot, packageVersion } from "./lib/package-info.ts";
import type { MCPClientManager } from "./mcp/client-manager.ts";
import { openSandboxes } from "./sandbox/docker/open-sandboxes.ts";
import type { Sandboxes } from "./sandbox/docker/open-sandboxes.ts";
import { checkInputFiles } from "./sandbox/docker/workspace-folder.ts";
import { openToolServers } from "./tool-servers.ts";
import type { ServerDefinitions, ToolServersOptions } from "./tool-servers.ts";

export interface Composition {
  readonly admission: Admission;
  readonly audit: AuditLog;
  readonly manager: RuntimeManager;
  readonly sandboxes: Sandboxes;
  readonly servers: MCPClientManager;
}

const STORE_LIMITS = { maxRecords: 1000, maxBytes: 64 * 2 ** 20 };

export interface ComposeOptions {
  readonly config: ServiceConfig;
  readonly runtimes: ReadonlyMap<string, RuntimeDefinition>;
  readonly servers: ServerDefinitions;
  /** When MCP servers are connected to. */
  readonly connect: ToolServersOptions["connect"];
  readonly logger: Logger;
}

/** Opens the sandboxes, the MCP servers and the manager; what they acquire goes on `cleanup`. Throws a `StartupError` that says what to mend. */
export async function compose(
  { config, connect, logger, runtimes, servers: definitions }: ComposeOptions,
  cleanup: CleanupStack,
): Promise<Composition> {
  const audit = await AuditLog.open(config.audit, logger);
  cleanup.defer("close the audit log", async () => {
    audit.record({ type: "service.stopped" });
    await audit.close();
  });
  audit.record({ type: "service.started", version: packageVersion() });
  const sandboxes = await openSandboxes({ config, runtimes, packageRoot, logger }, cleanup);
  // Closed after the executions, which may call them until they end.
  const servers = openToolServers({ config, servers: definitions, connect, logger, audit }, cleanup);

  const admission = new Admission(config);
  const manager = new RuntimeManager({
    runtimes: sandboxes.runtimes,
    executions: new ExecutionService({ admission, provider: sandboxes.provider, tools: servers, audit, logger }),
    admission,
    store: new ExecutionStore({ ...STORE_LIMITS, ttlMs: config.resultTtlMs }),
    servers,
    audit,
    logger,
    checkRequest: checkInputFiles,
  });
  cleanup.defer("end the executions", () =>
    manager.close(config.shutdownGraceMs, () => {
      sandboxes.giveUp();
    }),
  );
  return { admission, audit, manager, sandboxes, servers };
}
