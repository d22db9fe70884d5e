/** What the package gives to programs that embed it. */

export { startApp } from "./app.ts";
export type { App } from "./app.ts";
export { readEnvironment } from "./config/environment.ts";
export type { ServiceConfig } from "./config/environment.ts";
export type { Caller } from "./domain/caller.ts";
export { AppError, StartupError } from "./domain/errors.ts";
export type { Execution, ExecutionRequest } from "./domain/execution.ts";
export type { McpServerDefinition, ServerSettings } from "./domain/mcp-server.ts";
export type { ServerStatus, ToolDescription } from "./domain/server-status.ts";
export { ToolFailure } from "./domain/tool-error.ts";
export { RuntimeManager } from "./execution/runtime-manager.ts";
export { MCPClientManager } from "./mcp/client-manager.ts";
export type { CallToolOptions, MCPClientManagerOptions } from "./mcp/client-manager.ts";
export { createLogger } from "./observability/logger.ts";
export { SecurityManager } from "./security/security-manager.ts";
export type { SecurityManagerOptions } from "./security/security-manager.ts";
