/** The HTTP application: checks, routes, errors, in that order. */

import { randomUUID } from "node:crypto";

import express from "express";
import type { Express } from "express";
import helmet from "helmet";
import type { Logger } from "pino";
import { pinoHttp } from "pino-http";

import type { AuditSink } from "../domain/audit-event.ts";
import { AppError } from "../domain/errors.ts";
import type { RuntimeManager } from "../execution/runtime-manager.ts";
import type { ToolServers } from "../execution/tool-access.ts";
import type { Health } from "../observability/health.ts";
import { auditRoutes } from "./audit-routes.ts";
import type { AuditReader } from "./audit-routes.ts";
import type { Authenticator } from "./authentication.ts";
import { requireKey, requireScope } from "./authentication.ts";
import { closeWithConnection } from "./closed-connections.ts";
import { handleErrors } from "./errors.ts";
import { executionsRoutes } from "./executions-routes.ts";
import { openApiDocument } from "./openapi.ts";
import { checkOrigin } from "./origin-check.ts";
import { methodNotAllowed } from "./request-checks.ts";
import { runtimesRoutes } from "./runtimes-routes.ts";
import { serversRoutes } from "./servers-routes.ts";
import { maySeeServer } from "./tool-visibility.ts";
import { toolsRoutes } from "./tools-routes.ts";

export interface HttpDeps {
  readonly manager: RuntimeManager;
  readonly servers: ToolServers;
  readonly audit: AuditSink & AuditReader;
  readonly health: Health;
  readonly authenticator: Authenticator;
  readonly allowedHosts: readonly string[];
  readonly maxBodyBytes: number;
  readonly version: string;
  readonly logger: Logger;
}

export function createHttpApp(deps: HttpDeps): Express {
  const { audit, authenticator, health, logger, manager, maxBodyBytes, servers, version } = deps;
  const app = express();
  app.disable("x-powered-by");
  app.disable("etag");
  app.set("query parser", "simple");

  app.use(closeWithConnection());
  app.use(
    pinoHttp({
      logger,
      genReqId: (_request, response) => {
        const id = randomUUID();
        response.setHeader("X-Request-Id", id);
        return id;
      },
      // Failures are logged once, by the error handler.
      customLogLevel: () => "debug",
      serializers: {
        req: (request: { id: unknown; method: unknown; url: unknown }) => ({ id: request.id, method: request.method, url: request.url }),
      },
    }),
  );
  app.use(helmet());
  app.use(checkOrigin(deps.allowedHosts));

  app
    .route("/health")
    .get(async (request, response) => {
      const principal = authenticator.identify(request.headers.authorization);
      const report = await (principal === undefined
        ? health.report()
        : health.detailed({ callers: principal.scopes.has("admin"), server: (server) => maySeeServer(principal, server) }));
      response.status(report.status === "down" ? 503 : 200).json(report);
    })
    .all(methodNotAllowed("GET"));
  app
    .route("/livez")
    .get((_request, response) => {
      response.json({ status: "ok" });
    })
    .all(methodNotAllowed("GET"));
  app
    .route("/readyz")
    .get(async (_request, response) => {
      const isReady = (await health.report()).status !== "down";
      response.status(isReady ? 200 : 503).json({ status: isReady ? "ok" : "down" });
    })
    .all(methodNotAllowed("GET"));
  const document = openApiDocument(version);
  app
    .route("/openapi.json")
    .get((_request, response) => {
      response.json(document);
    })
    .all(methodNotAllowed("GET"));

  app.use("/v1", requireKey(authenticator, audit));
  // Bodies are parsed after authentication, so that a stranger's megabytes are never read. To start a program takes "execute".
  const run = requireScope("execute", "admin");
  app.use("/v1/executions", run, executionsRoutes({ manager, maxBodyBytes }));
  app.use("/v1/runtimes", run, runtimesRoutes(manager));
  app.use("/v1/servers", run, serversRoutes({ servers, audit }));
  app.use("/v1/tools", run, toolsRoutes(servers));
  app.use("/v1/audit", requireScope("audit"), auditRoutes(audit));

  app.use((request) => {
    throw new AppError({ code: "NOT_FOUND", message: `There is nothing at ${request.path}. The API is described at /openapi.json.` });
  });
  app.use(handleErrors(audit));
  return app;
}
