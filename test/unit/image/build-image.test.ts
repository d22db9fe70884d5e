/**
 * Building against an engine that is played here, for what a real one does rarely: it fails in the middle, or goes away.
 */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Docker from "dockerode";
import { plainImage } from "../../../src/domain/image-spec.ts";
import { type BuiltImage, buildSandboxImage } from "../../../src/sandbox/docker/image/build-image.ts";
import { findImage } from "../../../src/sandbox/docker/image/find-image.ts";
import { readImageSources } from "../../../src/sandbox/docker/image/image-sources.ts";
import { makePackageRoot } from "./tars.ts";

const json = (response: ServerResponse, status: number, body: unknown): void => {
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
};

describe("Sandbox image: an engine that fails", () => {
  let packageRoot: string;
  let directory: string;
  let server: Server;
  let docker: Docker;
  let architecture: string;
  let onBuild: (response: ServerResponse) => void;

  beforeEach(async () => {
    packageRoot = await makePackageRoot();
    directory = await mkdtemp(join(tmpdir(), "code-mode-test-image-"));
    architecture = "amd64";
    let wasBuilt = false;
    const { hash, baseHash } = await readImageSources({ packageRoot, image: plainImage(24) }, "amd64");
    const image = (label: string, value: string): unknown => ({
      Id: `sha256:${label}`,
      Config: { Labels: { [`code-mode.image.${label}`]: value } },
    });
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      const url = request.url ?? "";
      if (url.startsWith("/version")) json(response, 200, { Arch: architecture });
      else if (url.includes("-base:")) json(response, 200, image("base", baseHash));
      else if (wasBuilt && url.includes("-sandbox:")) json(response, 200, image("sources", hash));
      else if (url.startsWith("/build")) {
        wasBuilt = true;
        request.resume().on("end", () => onBuild(response));
      } else if (url.startsWith("/images/json")) json(response, 200, []);
      else json(response, 404, { message: "no such image" });
    };
    server = createServer(answer).listen(join(directory, "engine.sock"));
    docker = new Docker({ socketPath: join(directory, "engine.sock") });
  });
  afterEach(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    await rm(packageRoot, { recursive: true });
    await rm(directory, { recursive: true });
  });

  const build = (signal?: AbortSignal): Promise<BuiltImage> =>
    buildSandboxImage({ docker, packageRoot, image: plainImage(24), ...(signal === undefined ? {} : { signal }) });

  it("builds only on the base that is there", async () => {
    onBuild = (response) => response.end('{"stream":"Step 1/3"}\n{"aux":{"ID":"sha256:built"}}\n{"stream":"Successfully built"}');
    const { id, built } = await build();
    assert.deepEqual({ id, built }, { id: "sha256:sources", built: true });
  });

  const failures: Record<string, { answer: (response: ServerResponse) => void; reason: string; message: RegExp }> = {
    "an error in the middle": {
      answer: (response) => response.end('{"stream":"Step 1/3"}\r\n{"errorDetail":{"message":"COPY failed"},"error":"COPY failed"}\r\n'),
      reason: "engine_failed",
      message: /reports: COPY failed/,
    },
    "a full disk of the engine": {
      answer: (response) => response.end('{"error":"write /x: no space left on device"}\n'),
      reason: "disk_full",
      message: /disk is full.*the Docker engine's.*no space left/s,
    },
    "a stream that just ends": {
      answer: (response) => response.end('{"stream":"Step 1/3"}\n'),
      reason: "engine_unavailable",
      message: /went away while building code-mode-sandbox:node24-/,
    },
    "a connection that breaks off": {
      answer: (response) => response.write('{"stream":"Step 1/3"}\n', () => response.destroy()),
      reason: "engine_unavailable",
      message: /does not answer.*DOCKER_HOST/s,
    },
    "an answer that is no JSON": {
      answer: (response) => response.end("<html>\n"),
      reason: "engine_failed",
      message: /a line that is no message: <html>/,
    },
    "a line without an end": {
      answer: (response) => response.end("x".repeat(2_000_000)),
      reason: "engine_failed",
      message: /a line without an end/,
    },
    "a refusal": {
      answer: (response) => json(response, 500, { message: "dockerfile parse error" }),
      reason: "engine_failed",
      message: /dockerfile parse error/,
    },
  };
  for (const [what, { answer, reason, message }] of Object.entries(failures)) {
    it(`reports ${what}`, async () => {
      onBuild = answer;
      await assert.rejects(build(), { name: "ImageBuildError", reason, message });
    });
  }

  it("stops when it is cancelled", async () => {
    const abort = new AbortController();
    onBuild = (response) => response.write('{"stream":"Step 1/3"}\n', () => abort.abort());
    await assert.rejects(build(abort.signal), { name: "ImageBuildError", reason: "aborted" });
    await assert.rejects(build(abort.signal), { name: "ImageBuildError", reason: "aborted" });
  });

  it("refuses an architecture without a Node package", async () => {
    architecture = "riscv64";
    await assert.rejects(build(), { reason: "architecture_unsupported", message: /"riscv64".*amd64 and arm64/ });
  });

  it("says that the engine is away", async () => {
    docker = new Docker({ socketPath: join(directory, "nothing.sock") });
    await assert.rejects(build(), { reason: "engine_unavailable", message: /Start it/ });
    await assert.rejects(findImage({ docker, packageRoot, image: plainImage(24) }), { reason: "engine_unavailable" });
  });
});
