/** What the package gives to programs that embed it. */

export { startApp } from "./app.ts";
export type { App } from "./app.ts";
export { readEnvironment } from "./config/environment.ts";
export type { ServiceConfig } from "./config/environment.ts";
export type { Caller } from "./domain/caller.ts";
export { AppError, StartupError } from "./domain/errors.ts";
export type { Execution, ExecutionRequest } from "./domain/execution.ts";
export { RuntimeManager } from "./execution/runtime-manager.ts";
export { createLogger } from "./observability/logger.ts";
