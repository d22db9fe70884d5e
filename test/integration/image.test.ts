/**
 * The sandbox image on a real engine: what is in it, what is rebuilt when, where Debian's files come from, what is left behind.
 *
 * Everything is made under names of this run and removed at the end.
 */

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import Docker from "dockerode";
import { type Header, pack } from "tar-stream";
import { gatherImages, renderImages } from "../../src/cli/image-list.ts";
import { imageSpec, plainImage } from "../../src/domain/image-spec.ts";
import { aptProvider } from "../../src/sandbox/docker/image/apt-provider.ts";
import { type Architecture, engineArchitecture } from "../../src/sandbox/docker/image/architecture.ts";
import { type BuildOptions, type BuiltImage, buildSandboxImage } from "../../src/sandbox/docker/image/build-image.ts";
import type { DebianProvider } from "../../src/sandbox/docker/image/debian-provider.ts";
import { findImage, listSandboxImages, pruneSandboxImages } from "../../src/sandbox/docker/image/find-image.ts";
import { readTar } from "../../src/sandbox/docker/image/read-tar.ts";
import { makePackageRoot } from "../unit/image/tars.ts";

const docker = new Docker();
const run = `code-mode-test-${randomBytes(4).toString("hex")}`;
const LABEL = "code-mode.image.prefix";

/** All files of an image, as a container gets them, with the contents of those that `keep` wants. */
async function filesOf(image: string, keep: (header: Header) => boolean = () => false): Promise<{ header: Header; content?: Buffer }[]> {
  const container = await docker.createContainer({
    Image: image,
    Cmd: ["/never-started"],
    NetworkDisabled: true,
    Labels: { [LABEL]: run },
  });
  try {
    const files: { header: Header; content?: Buffer }[] = [];
    await readTar(Readable.from(await container.export()), async (header, content) => {
      files.push(keep(header) ? { header, content: await content() } : { header });
    });
    return files;
  } finally {
    await container.remove({ force: true });
  }
}

/** What a program prints in a container of the image, run as a stranger without any right. */
async function runProgram(image: string, program: string): Promise<{ exitCode: number; output: string }> {
  const container = await docker.createContainer({
    Image: image,
    Cmd: ["/usr/local/bin/node", "-e", program],
    User: "12345:12345",
    NetworkDisabled: true,
    Tty: true,
    Labels: { [LABEL]: run },
    HostConfig: { ReadonlyRootfs: true, CapDrop: ["ALL"], SecurityOpt: ["no-new-privileges"] },
  });
  try {
    const stream = await container.attach({ stream: true, stdout: true, stderr: true });
    const output = Readable.from(stream).toArray() as Promise<Buffer[]>;
    await container.start();
    const { StatusCode: exitCode } = (await container.wait()) as { StatusCode: number };
    return {
      exitCode,
      output: Buffer.concat(await output)
        .toString("utf8")
        .trim(),
    };
  } finally {
    await container.remove({ force: true });
  }
}

const containersOfRun = (): Promise<Docker.ContainerInfo[]> =>
  docker.listContainers({ all: true, filters: { label: [`${LABEL}=${run}`] } });

describe("Sandbox image", function () {
  this.timeout(300_000);
  let packageRoot: string;
  let temporary: string;
  const { TMPDIR: machinesTemporary } = process.env;
  let image: BuiltImage;
  const progress: string[] = [];

  const build = (options: Partial<BuildOptions> = {}): Promise<BuiltImage> =>
    buildSandboxImage({ docker, packageRoot, image: plainImage(24), prefix: run, onProgress: (line) => progress.push(line), ...options });
  const runnerPath = (): string => join(packageRoot, "dist", "sandbox-image", "runner.cjs");

  before(async () => {
    packageRoot = await makePackageRoot();
    temporary = await mkdtemp(join(tmpdir(), "code-mode-test-image-"));
    process.env.TMPDIR = temporary;
    assert.equal((await findImage({ docker, packageRoot, image: plainImage(24), prefix: run })).state, "missing");
    image = await build();
  });

  after(async () => {
    assert.deepEqual(await readdir(temporary), []);
    if (machinesTemporary === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = machinesTemporary;
    for (const folder of [packageRoot, temporary]) await rm(folder, { recursive: true, force: true });
    const { refused } = await pruneSandboxImages(docker, [], run);
    assert.deepEqual(refused, []);
    assert.deepEqual(await listSandboxImages(docker, run), []);
    assert.deepEqual(await containersOfRun(), []);
  });

  it("is built, and says on the way what it is made of", async () => {
    assert.equal(image.built, true);
    const { Config: config } = await docker.getImage(image.id).inspect();
    assert.equal(config.Labels["code-mode.image.version"], image.nodeVersion);
    assert.match(config.Labels["code-mode.image.debian"] ?? "", /libc6 2\.|debian/);
    assert.deepEqual([config.Env, config.Cmd, config.Entrypoint], [["PATH=/usr/local/bin"], null, null]);
    assert.deepEqual([config.User, config.WorkingDir, config.Healthcheck], ["65534:65534", "/workspace", undefined]);
    assert.match(progress.join("\n"), /^Debian packages: .*\nNode 24\..*\nbuilding .*-base:.*\nbuilding .*-sandbox:/s);
  });

  it("is found again, and a second build does nothing and takes no time", async () => {
    progress.length = 0;
    const started = performance.now();
    const second = await build();
    assert.ok(performance.now() - started < 1_000);
    assert.deepEqual(second, { ...image, built: false });
    assert.deepEqual(progress, []);
    const found = await findImage({ docker, packageRoot, image: plainImage(24), prefix: run });
    assert.deepEqual(found, { state: "ready", tag: image.tag, id: image.id, nodeVersion: image.nodeVersion, groups: new Map() });
  });

  it("holds nothing but Node, its libraries, the runner and a few static files", async () => {
    // The engine's own mount points, and not in the image.
    const ofEngine = /^(\.dockerenv|dev|proc|sys|etc\/(hostname|mtab))(\/|$)/;
    const files = (await filesOf(image.id)).map(({ header }) => header).filter(({ name }) => !ofEngine.test(name));
    const plain = files.filter(({ type }) => type === "file").map(({ name }) => name);
    const known = [
      /^etc\/(group|hosts|nsswitch\.conf|passwd|resolv\.conf)$/,
      /^opt\/code-mode\/(runner|typescript)\.cjs$/,
      /^usr\/lib\/[a-z0-9_]+-linux-gnu\/(ld-linux-|lib(c|dl|gcc_s|m|pthread|stdc\+\+)\.so\.)[^/]+$/,
      /^usr\/local\/bin\/node$/,
      /^usr\/share\/doc\/[^/]+\/(copyright|LICENSE)$/,
    ];
    assert.deepEqual(
      plain.filter((name) => !known.some((pattern) => pattern.test(name))),
      [],
    );
    for (const pattern of known)
      assert.ok(
        plain.some((name) => pattern.test(name)),
        String(pattern),
      );
    assert.ok(files.every(({ type }) => ["file", "directory", "symlink"].includes(type)));
  });

  it("has no file that is set-uid, or that others than root own or may write", async () => {
    for (const { header } of await filesOf(image.id)) {
      assert.equal(header.mode & 0o7000, 0, header.name);
      if (header.type !== "symlink") assert.equal(header.mode & 0o022, 0, header.name);
      assert.deepEqual([header.uid, header.gid], [0, 0], header.name);
    }
  });

  it("runs Node for a stranger, who cannot read its binary, nor write its memory, nor write anything", async () => {
    const program = `
      const fs = require("node:fs");
      const attempt = (what) => { try { what(); return "done"; } catch (error) { return error.code; } };
      console.log(JSON.stringify({
        version: process.versions.node,
        uid: process.getuid(),
        binary: attempt(() => fs.readFileSync("/usr/local/bin/node")),
        memory: attempt(() => fs.openSync("/proc/self/mem", "r+")),
        environment: attempt(() => fs.readFileSync("/proc/self/environ")),
        loader: require("node:child_process").spawnSync(fs.realpathSync(process.report.getReport().sharedObjects.at(-1)), ["/usr/local/bin/node"]).status,
        writes: ["/", "/tmp", "/workspace", "/run/code-mode", "/opt/code-mode"].map((path) => attempt(() => fs.writeFileSync(path + "/x", ""))),
      }));`;
    const { exitCode, output } = await runProgram(image.id, program);
    assert.equal(exitCode, 0, output);
    assert.deepEqual(JSON.parse(output), {
      version: image.nodeVersion,
      uid: 12345,
      binary: "EACCES",
      memory: "EACCES",
      environment: "EACCES",
      loader: 127,
      writes: ["EROFS", "EROFS", "EROFS", "EROFS", "EROFS"],
    });
  });

  it("is stale when the runner changed; then one small layer is built on the same base", async () => {
    await appendFile(runnerPath(), "// changed\n");
    const found = await findImage({ docker, packageRoot, image: plainImage(24), prefix: run });
    assert.equal(found.state, "stale");
    assert.match(found.message, /older than its sources.*make sandbox-image.*code-mode image build/);

    progress.length = 0;
    const changed = await build();
    assert.deepEqual(progress, [`building ${changed.tag} (0.0 MB)`]);
    assert.deepEqual([changed.built, changed.baseTag], [true, image.baseTag]);
    assert.notEqual(changed.tag, image.tag);
    const layers = async (id: string): Promise<string[]> => (await docker.getImage(id).inspect()).RootFS.Layers ?? [];
    assert.deepEqual((await layers(changed.id)).slice(0, -1), (await layers(image.id)).slice(0, -1));
    const runner = (await filesOf(changed.id, ({ name }) => name === "opt/code-mode/runner.cjs")).find(({ content }) => content);
    assert.deepEqual(runner?.content, await readFile(runnerPath()));
  });

  it("is not taken for the current one when only its tag is right", async () => {
    await appendFile(runnerPath(), "// another\n");
    const { tag } = await findImage({ docker, packageRoot, image: plainImage(24), prefix: run });
    const [repo = "", name = ""] = tag.split(":");
    await docker.getImage(image.id).tag({ repo, tag: name });
    assert.equal((await findImage({ docker, packageRoot, image: plainImage(24), prefix: run })).state, "stale");
    assert.equal((await build()).built, true);
  });

  it("prunes what is not kept, and reports what a container holds on to", async () => {
    await writeFile(runnerPath(), "console.log('kept');\n");
    const kept = await build();
    await appendFile(runnerPath(), "// in use\n");
    const inUse = await build();
    const holder = await docker.createContainer({ Image: inUse.tag, Cmd: ["/never-started"], NetworkDisabled: true });
    try {
      const { removed, refused } = await pruneSandboxImages(docker, [kept.tag], run);
      assert.ok(removed.length > 0);
      assert.deepEqual(
        refused.map((entry) => entry.image.id),
        [inUse.id],
      );
      assert.match(refused[0]?.reason ?? "", /container/);
      const left = await listSandboxImages(docker, run);
      assert.deepEqual(left.flatMap(({ tags }) => tags).sort(), [kept.baseTag, inUse.tag, kept.tag].sort());
    } finally {
      await holder.remove({ force: true });
    }
    await pruneSandboxImages(docker, [kept.tag], run);
    assert.deepEqual(
      (await listSandboxImages(docker, run)).map(({ kind }) => kind),
      ["sandbox", "base"],
    );
  });

  describe("with modules", () => {
    const spec = imageSpec({ nodeMajor: 24, modules: ["is-number@7.0.0"] });
    let withModule: BuiltImage;

    before(async () => {
      withModule = await build({ image: spec });
    });

    it("has a tier of its own between base and runner, which a changed runner leaves as it is", async () => {
      const layers = async (tag: string): Promise<string[]> => (await docker.getImage(tag).inspect()).RootFS.Layers ?? [];
      assert.deepEqual((await layers(withModule.additionsTag ?? "")).slice(0, -1), await layers(withModule.baseTag));
      assert.deepEqual((await layers(withModule.tag)).slice(0, -1), await layers(withModule.additionsTag ?? ""));
      await appendFile(runnerPath(), "// changed\n");
      progress.length = 0;
      const changed = await build({ image: spec });
      assert.equal(changed.additionsTag, withModule.additionsTag);
      assert.deepEqual(progress, [`building ${changed.tag} (0.0 MB)`]);
      withModule = changed;
    });

    it("is listed with what is in it and who uses it, beside what is missing and what is older", async () => {
      const older = await docker.getImage(withModule.tag).inspect();
      await appendFile(runnerPath(), "// changed again\n");
      withModule = await build({ image: spec });
      const configured = [
        { spec, runtimes: ["a", "b"] },
        { spec: imageSpec({ nodeMajor: 24, modules: ["none-such"] }), runtimes: ["c"] },
      ];
      const listed = await gatherImages({ docker, packageRoot, configured, prefix: run });
      const [current, missing, ...rest] = listed;
      assert.deepEqual([current?.state, current?.id, current?.modules], ["current", withModule.id, ["is-number 7.0.0"]]);
      assert.deepEqual([current?.runtimes, current?.containers, current?.nodeVersion], [["a", "b"], 0, withModule.nodeVersion]);
      assert.ok((current?.sizeBytes ?? 0) > 50e6);
      assert.deepEqual([missing?.state, missing?.runtimes, missing?.id], ["missing", ["c"], null]);
      assert.ok(rest.every(({ state }) => state === "older"));
      assert.ok(rest.some(({ id }) => id === older.Id));
      assert.ok(rest.every(({ tag }) => tag !== withModule.additionsTag && tag !== withModule.baseTag));
      const text = renderImages(listed);
      assert.match(text, /^current {2}\S+ +\d+ MB +Node 24 with is-number@7\.0\.0 \(a, b\)\n +Node 24\.\S+, is-number 7\.0\.0\nmissing /);
      assert.match(text, /image build` builds what is missing.*image prune`/s);
    });

    it("keeps its tier when others are pruned, and loses it when itself is", async () => {
      await pruneSandboxImages(docker, [withModule.tag], run);
      const kinds = async (): Promise<string[]> => (await listSandboxImages(docker, run)).map(({ kind }) => kind);
      assert.deepEqual(await kinds(), ["sandbox", "additions", "base"]);
      const plain = await build();
      await pruneSandboxImages(docker, [plain.tag], run);
      assert.deepEqual(await kinds(), ["sandbox", "base"]);
    });

    it("cannot be built of modules that no registry has, and says which", async () => {
      const modules = ["is-number@7.0.0", "@code-mode-none/such-module", "is-odd@999"];
      await assert.rejects(build({ image: imageSpec({ nodeMajor: 24, modules }) }), {
        reason: "module_unknown",
        message: /npm finds no "@code-mode-none\/such-module", "is-odd@999"\./,
      });
    });

    it("cannot be built of packages that apt does not know, and says which", async () => {
      const packages = ["libc6", "none-such-package", "libc6=0.1"];
      await assert.rejects(build({ image: imageSpec({ nodeMajor: 24, packages }) }), {
        reason: "package_unknown",
        message: /knows no Debian package "libc6=0\.1", "none-such-package"\./,
      });
    });

    it("cannot be built when a program is allowed that nothing has", async () => {
      await assert.rejects(build({ image: imageSpec({ nodeMajor: 24, executables: ["git"] }) }), {
        reason: "executable_missing",
        message: /"git" can be executed .* no package of this runtime has it/,
      });
      assert.deepEqual(await readdir(temporary), []);
    });
  });

  // At each other step: test/soak/image.test.ts.
  it("leaves no container and no folder when it is cancelled while the engine works", async () => {
    const abort = new AbortController();
    const onProgress = (line: string): void => {
      if (line.startsWith(`building ${run}-base`)) setTimeout(() => abort.abort(new Error("enough")), 200);
    };
    await appendFile(join(packageRoot, "sandbox-image", "etc", "group"), "# changed\n");
    await assert.rejects(build({ onProgress, signal: abort.signal }), { reason: "aborted" });
    assert.deepEqual(await readdir(temporary), []);
    // The engine notices that we are gone and stops by itself.
    const deadline = Date.now() + 30_000;
    while ((await containersOfRun()).length > 0 && Date.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 100));
    assert.deepEqual(await containersOfRun(), []);
    const { id } = await build();
    assert.equal((await docker.getImage(id).inspect()).Id, id);
  });

  describe("from a Debian image, where there is no apt", () => {
    const debianImage = `${run}-debian:local`;
    let fromApt: BuiltImage;

    before(async () => {
      fromApt = await build();
      const tar = pack();
      const wanted = ({ name, type }: Header): boolean => type === "file" && /^usr\/(lib|share)\//.test(name);
      for (const { header, content } of await filesOf(fromApt.id, wanted)) {
        if (content !== undefined) tar.entry({ ...header }, content);
        else if (header.type === "symlink") tar.entry({ ...header });
      }
      tar.entry({ name: "usr/bin/sh", mode: 0o755 }, "#!");
      tar.entry({ name: "usr/bin/su", mode: 0o4755 }, "#!");
      tar.entry({ name: "etc/shadow", mode: 0o600 }, "root::");
      tar.entry({ name: "usr/lib/x86_64-linux-gnu/libapt-pkg.so.6.0", mode: 0o644 }, "apt");
      tar.finalize();
      const imported = await docker.importImage(Readable.from(tar), { repo: `${run}-debian`, tag: "local" });
      for await (const _message of imported);
    });
    after(() => docker.getImage(debianImage).remove());

    it("picks the same files, with a container that it never starts and removes", async () => {
      const built = await build({ refresh: true, debianFrom: ["registry"], debianImage });
      const { Config: config } = await docker.getImage(built.id).inspect();
      assert.match(config.Labels["code-mode.image.debian"] ?? "", new RegExp(`^${debianImage} sha256:`));
      const list = async (id: string): Promise<string[]> => (await filesOf(id)).map(({ header }) => `${header.mode} ${header.name}`).sort();
      assert.deepEqual(await list(built.id), await list(fromApt.id));
      assert.deepEqual(await runProgram(built.id, "console.log(String(1 + 1))"), { exitCode: 0, output: "2" });
      assert.deepEqual(await containersOfRun(), []);
      await docker.getImage(debianImage).inspect();
    });

    it("names what is missing when there is neither", async () => {
      const nowhere = "localhost:1/nothing:none";
      await assert.rejects(build({ refresh: true, debianFrom: ["registry"], debianImage: nowhere }), {
        name: "ImageBuildError",
        reason: "debian_unavailable",
        message: /- the image localhost:1\/nothing:none: the engine cannot pull it/,
      });
    });
  });

  describe("from apt", () => {
    let directory: string;
    let architecture: Architecture;

    const provider = (name: string): DebianProvider =>
      aptProvider({
        packages: ["libc6"],
        architecture,
        directory: join(directory, name),
        onProgress: (line) => progress.push(line),
        signal: undefined,
      });
    const configure = async (settings: readonly string[]): Promise<void> => {
      process.env.APT_CONFIG = join(directory, "test.conf");
      await writeFile(process.env.APT_CONFIG, settings.join("\n"));
    };

    before(async function () {
      architecture = await engineArchitecture(docker);
      directory = await mkdtemp(join(tmpdir(), "code-mode-test-image-"));
      await mkdir(join(directory, "none", "partial"), { recursive: true });
      // A machine without apt uses the other way, which is tested above.
      if ((await provider("probe").whyNot()) !== undefined) this.skip();
    });
    after(() => rm(directory, { recursive: true, force: true }));
    afterEach(() => {
      delete process.env.APT_CONFIG;
    });

    it("fetches lists of its own when the machine has none", async () => {
      await configure([`Dir::State::lists "${join(directory, "none")}";`]);
      progress.length = 0;
      const names: string[] = [];
      const origin = await provider("lists").read((tar) => readTar(tar, ({ name }) => void names.push(name)));
      assert.match(origin, /libc6 2\./);
      assert.ok(names.some((name) => name.endsWith("/libc.so.6")));
      assert.match(progress[0] ?? "", /package lists are of no use/);
      assert.deepEqual(await readdir(join(directory, "none")), ["partial"]);
    });

    it("says so when apt has no sources", async () => {
      await configure([
        `Dir::State::lists "${join(directory, "none")}";`,
        'Dir::Etc::sourcelist "/dev/null";',
        'Dir::Etc::sourceparts "/dev/null";',
      ]);
      await assert.rejects(
        provider("sources").read(() => Promise.resolve()),
        {
          reason: "debian_unavailable",
          message: /apt-get install.*libc6.*check its sources and the network/s,
        },
      );
    });

    it("is not used for an engine of another architecture", async () => {
      const other = architecture === "amd64" ? "arm64" : "amd64";
      const foreign = aptProvider({ packages: [], architecture: other, directory, onProgress: () => undefined, signal: undefined });
      assert.match((await foreign.whyNot()) ?? "", new RegExp(`this machine is ${architecture}, the Docker engine's is ${other}`));
    });
  });
});
