import assert from "node:assert/strict";
import { type DebianProvider, readDebianFiles } from "../../../src/sandbox/docker/image/debian-provider.ts";
import { tarOf } from "./tars.ts";

const WANTED = { architecture: "arm64", libraries: ["libc.so.6"], packages: [] } as const;

const works = (name: string): DebianProvider => ({
  name,
  whyNot: () => Promise.resolve(undefined),
  read: async (onTar) => {
    await onTar(
      tarOf({ name: "usr/lib/ld-linux-aarch64.so.1", content: name }, { name: "usr/lib/aarch64-linux-gnu/libc.so.6", content: name }),
    );
    return `from ${name}`;
  },
});
const cannot = (name: string, why: string): DebianProvider => ({ ...works(name), whyNot: () => Promise.resolve(why) });
const fails = (name: string, error: Error): DebianProvider => ({ ...works(name), read: () => Promise.reject(error) });

const read = (...providers: readonly DebianProvider[]): Promise<string> =>
  readDebianFiles(providers, WANTED, undefined).then((files) => files.origin);

describe("Sandbox image: where Debian's files come from", () => {
  it("uses the first way that works", async () => {
    assert.equal(await read(works("apt"), works("registry")), "from apt");
    assert.equal(await read(cannot("apt", "not installed"), works("registry")), "from registry");
    assert.equal(await read(fails("apt", new Error("no network")), works("registry")), "from registry");
  });

  it("goes on when a way gives incomplete files, and keeps nothing of them", async () => {
    const incomplete: DebianProvider = {
      ...works("apt"),
      read: async (onTar) => {
        await onTar(tarOf({ name: "usr/lib/aarch64-linux-gnu/libc.so.6", content: "apt" }));
        return "from apt";
      },
    };
    const { entries, origin } = await readDebianFiles([incomplete, works("registry")], WANTED, undefined);
    assert.equal(origin, "from registry");
    assert.ok(entries.every((entry) => entry.type !== "file" || entry.content.toString() === "registry"));
  });

  it("names every way and what is wrong with it when none works", async () => {
    const cause = new Error("the engine cannot pull it");
    await assert.rejects(read(cannot("apt on this machine", "`apt-get` is not installed"), fails("the image debian", cause)), {
      name: "ImageBuildError",
      reason: "debian_unavailable",
      message: /- apt on this machine: `apt-get` is not installed\n- the image debian: the engine cannot pull it$/,
      cause,
    });
  });

  it("tries no other way once it was cancelled", async () => {
    const abort = new AbortController();
    const cancelled: DebianProvider = {
      ...works("apt"),
      read: () => {
        abort.abort(new Error("cancelled"));
        return Promise.reject(new Error("killed"));
      },
    };
    await assert.rejects(readDebianFiles([cancelled, works("registry")], WANTED, abort.signal), { message: "cancelled" });
  });
});
