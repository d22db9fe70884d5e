/** What the service says about itself: runtimes, health, OpenAPI. */

import assert from "node:assert/strict";

import { z } from "zod";

import { ERROR_STATUS } from "../../../src/domain/errors.ts";
import { permissionsSchema } from "../../../src/domain/permissions.ts";
import { runtimeViewSchema } from "../../../src/http/runtimes-routes.ts";
import { HttpService } from "../support/http-service.ts";
import { requestOf, runtimeOf } from "../support/policies.ts";

describe("http description: /v1/runtimes", () => {
  const permissions = {
    fileSystem: { read: ["data", { path: "config", snapshot: true }], write: ["temp"], execute: [] },
    network: { allowedHosts: ["example.com"], allowedPorts: [443, "8000-8010"], loopback: true },
    system: { allowedCommands: [], maxProcesses: 1 },
  };
  let service: HttpService;
  before(async () => {
    service = await HttpService.start({
      runtimes: [
        runtimeOf({ permissions: { ...permissions, network: {} }, deniedOperations: ["eval"], limits: { maxMemory: "1GB" } }),
        { ...runtimeOf({ permissions, version: "18", allowedModules: ["path"] }), name: "second" },
      ],
    });
  });
  after(() => service.close());
  const listed = async (): Promise<z.infer<typeof runtimeViewSchema>[]> =>
    z.strictObject({ runtimes: z.array(runtimeViewSchema.strict()) }).parse((await service.send("/v1/runtimes")).json).runtimes;

  it("lists them in the order of the configuration, with what they may do and why one cannot run", async () => {
    const runtimes = await listed();
    assert.deepEqual(
      runtimes.map(({ available, default: isDefault, name, node, version }) => [name, isDefault, available, version, node]),
      [
        ["node", true, true, "24", 24],
        ["second", false, false, "18", 22],
      ],
    );
    assert.match(runtimes[1]!.unavailable[0]!, /^permissions\.network\.allowedHosts: /);
    assert.deepEqual([runtimes[0]!.codeFromStrings, runtimes[1]!.codeFromStrings, runtimes[1]!.allowedModules], [false, true, ["path"]]);
    assert.deepEqual([runtimes[0]!.limits.defaults["memoryBytes"], runtimes[0]!.limits.ceilings["memoryBytes"]], [512 * 2 ** 20, 2 ** 30]);
  });

  it("shows permissions in the form that a request takes, and such a request is granted", async () => {
    const [one, two] = await listed();
    assert.deepEqual(two!.permissions, permissions);
    const first = permissionsSchema.parse(one!.permissions);
    assert.deepEqual(first.network, { allowedHosts: [], allowedPorts: [], loopback: false });
    assert.equal((await service.execute({ permissions: first })).status, 200);
    assert.deepEqual(
      service.sandboxes.started.at(-1)!.policy.permissions,
      runtimeOf({ permissions: requestOf({ permissions: first }).permissions! }).permissions,
    );
  });
});

describe("http description: health", () => {
  it("is 503 when the engine does not answer; the process lives all the same", async () => {
    const service = await HttpService.start({ pingEngine: () => Promise.reject(new Error("away")) });
    try {
      const health = await service.send("/health");
      const { engine, status } = health.json as { engine: { answers: boolean }; status: string };
      assert.deepEqual([health.status, status, engine.answers], [503, "down", false]);
      assert.deepEqual([(await service.send("/readyz")).status, (await service.send("/livez")).status], [503, 200]);
    } finally {
      await service.close();
    }
  });
});

describe("http description: OpenAPI", () => {
  let service: HttpService;
  let document: {
    readonly openapi: string;
    readonly info: { readonly version: string };
    readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly operationId: string; readonly responses: object }>>>>;
    readonly components: {
      readonly schemas: {
        readonly ExecutionRequest: { readonly required: string[]; readonly additionalProperties: boolean; readonly properties: object };
      };
    };
  };
  before(async () => {
    service = await HttpService.start();
    document = (await service.send("/openapi.json")).json as typeof document;
  });
  after(() => service.close());

  it("is of this version, and every reference in it leads somewhere", () => {
    assert.deepEqual([document.openapi, document.info.version], ["3.1.0", "1.2.3"]);
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]+)"/g)].map(([, reference]) => reference!);
    assert.ok(references.length > 5);
    for (const reference of references) {
      const target = reference
        .replace(/^#\//, "")
        .split("/")
        .reduce<unknown>((node, key) => (node as Record<string, unknown> | undefined)?.[key], document);
      assert.ok(target !== undefined, reference);
    }
  });

  it("names paths and methods that exist, each with an id of its own", async () => {
    const ids: string[] = [];
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, { operationId }] of Object.entries(methods)) {
        ids.push(operationId);
        const { status, text } = await service.send(path.replace("{id}", "exe_00000000000000000000"), { method: method.toUpperCase() });
        assert.ok(status !== 405 && !text.includes("There is nothing at"), `${method} ${path}: ${status}`);
      }
    }
    assert.equal(new Set(ids).size, ids.length);
    assert.ok(ids.includes("execute") && ids.includes("cancelExecution"));
  });

  it("describes the request as it is validated: unknown fields refused, only the code required, no default missing", () => {
    const { ExecutionRequest } = document.components.schemas;
    assert.deepEqual([ExecutionRequest.required, ExecutionRequest.additionalProperties], [["code"], false]);
    assert.deepEqual(Object.keys(ExecutionRequest.properties), [
      "runtime",
      "code",
      "files",
      "stdin",
      "args",
      "env",
      "timeoutMs",
      "limits",
      "permissions",
      "outputFiles",
      "tools",
    ]);
  });

  it("has errors of the table only", () => {
    const known = new Set<string>(Object.values(ERROR_STATUS).map(String));
    for (const methods of Object.values(document.paths)) {
      for (const { responses } of Object.values(methods)) {
        for (const status of Object.keys(responses)) assert.ok(known.has(status) || status.startsWith("2"), status);
      }
    }
  });
});
