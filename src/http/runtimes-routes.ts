/** `/v1/runtimes`: what programs can run in, and what they may do there. */

import { Router } from "express";
import { z } from "zod";

import { permissionsSchema } from "../domain/permissions.ts";
import type { Permissions } from "../domain/permissions.ts";
import type { RuntimeDefinition } from "../domain/runtime.ts";
import { findUnsupported } from "../domain/unsupported.ts";
import type { RuntimeManager } from "../execution/runtime-manager.ts";
import { principalOf } from "./authentication.ts";
import { methodNotAllowed } from "./request-checks.ts";

export const runtimeViewSchema = z.object({
  name: z.string(),
  language: z.enum(["typescript", "javascript"]),
  version: z.string().describe("As configured"),
  node: z.int().describe("The line of Node that programs run on"),
  default: z.boolean(),
  available: z.boolean(),
  unavailable: z.array(z.string()).describe("Why it cannot run here; for a permission: unless a request narrows it"),
  limits: z.object({ defaults: z.record(z.string(), z.number()), ceilings: z.record(z.string(), z.number()) }),
  permissions: permissionsSchema,
  allowedModules: z.array(z.string()),
  codeFromStrings: z.boolean().describe("Whether eval and new Function work"),
});

export function runtimesRoutes(manager: RuntimeManager): Router {
  const router = Router();
  router
    .route("/")
    .get((_request, response) => {
      response.json({ runtimes: manager.runtimesFor(principalOf(response)).map((runtime, index) => view(runtime, index === 0)) });
    })
    .all(methodNotAllowed("GET"));
  return router;
}

function view(runtime: RuntimeDefinition, isDefault: boolean): z.infer<typeof runtimeViewSchema> {
  const { guards, image, language, limits, name, permissions, version } = runtime;
  const unavailable = [...runtime.unavailable, ...findUnsupported(permissions)];
  return {
    name,
    language,
    version,
    node: image.nodeMajor,
    default: isDefault,
    available: unavailable.length === 0,
    unavailable,
    limits: { defaults: { ...limits.defaults }, ceilings: { ...limits.ceilings } },
    permissions: viewPermissions(permissions),
    allowedModules: [...guards.allowedModules],
    codeFromStrings: !guards.denyCodeGeneration,
  };
}

/** In the shape of the configuration, so that a request can be made from it. */
function viewPermissions({ fileSystem, network, system }: Permissions): z.infer<typeof permissionsSchema> {
  return {
    fileSystem: {
      read: fileSystem.read.map(({ path, snapshot }) => (snapshot ? { path, snapshot } : path)),
      write: fileSystem.write.map(({ path, persist }) => (persist ? { path, persist } : path)),
      execute: [...fileSystem.execute],
    },
    network: {
      allowedHosts: [...network.allowedHosts],
      allowedPorts: network.allowedPorts.map(({ first, last }) => (first === last ? first : `${first}-${last}`)),
      loopback: network.loopback,
    },
    system: { allowedCommands: [...system.allowedCommands], maxProcesses: system.maxProcesses },
  };
}
