import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import { gzipSync } from "node:zlib";

import { ADVISORIES } from "../../../src/doctor/advisories.ts";
import { judgeHoles } from "../../../src/doctor/host-checks.ts";
import { adviceFor, findHoles } from "../../../src/doctor/known-holes.ts";
import { compareVersions, parseVersion } from "../../../src/doctor/versions.ts";
import { useTempFolder } from "../support/temp-folder.ts";

const NO_DOCUMENTS = "/nowhere";
const RUNC_2025 = ["CVE-2025-31133", "CVE-2025-52565", "CVE-2025-52881"];
const NEW_ENGINE = ["CVE-2026-34040", "CVE-2026-41567"];

const open = async (component: string, version: string): Promise<string[]> =>
  (await findHoles({ [component]: version }, NO_DOCUMENTS)).map(({ advisory }) => advisory.id);

describe("advisories: the table", () => {
  for (const { fixed, id, since, summary, here } of ADVISORIES) {
    it(`${id} has versions that parse, in order, and says what it is`, () => {
      const good = fixed.map((text) => parseVersion(text) ?? assert.fail(text));
      assert.deepEqual(good.toSorted(compareVersions), good);
      if (since !== undefined) assert.ok(compareVersions(parseVersion(since)!, good[0]!) < 0);
      assert.match(id, /^CVE-20\d\d-\d{4,6}$/);
      assert.ok(summary.length > 20 && /^[a-zA-Z]/.test(summary) && here.endsWith("."));
    });
  }

  it("has each advisory once", () => {
    assert.equal(new Set(ADVISORIES.map(({ id }) => id)).size, ADVISORIES.length);
  });

  // What the records name as affected and as fixed, at each border.
  for (const [component, version, ids] of [
    ["runc", "1.0.0-rc2", ["CVE-2025-31133", "CVE-2025-52881"]],
    ["runc", "1.0.0-rc92", RUNC_2025],
    ["runc", "1.0.0-rc93", ["CVE-2024-21626", ...RUNC_2025]],
    ["runc", "1.1.11", ["CVE-2024-21626", ...RUNC_2025]],
    ["runc", "1.1.12", RUNC_2025],
    ["runc", "1.2.7", RUNC_2025],
    ["runc", "1.2.8", []],
    ["runc", "1.3.2", RUNC_2025],
    ["runc", "1.3.3", []],
    ["runc", "1.4.0-rc.2", RUNC_2025],
    ["runc", "1.4.0-rc.3", []],
    ["containerd", "1.6.37", ["CVE-2024-25621", "CVE-2024-40635"]],
    ["containerd", "1.6.38", ["CVE-2024-25621"]],
    ["containerd", "1.7.26", ["CVE-2024-25621", "CVE-2024-40635"]],
    ["containerd", "1.7.28", ["CVE-2024-25621"]],
    ["containerd", "1.7.29", []],
    ["containerd", "2.0.3", ["CVE-2024-25621", "CVE-2024-40635"]],
    ["containerd", "2.0.7", []],
    ["containerd", "2.1.4", ["CVE-2024-25621"]],
    ["containerd", "2.2.0-rc.1", ["CVE-2024-25621"]],
    ["containerd", "2.2.0", []],
    ["Engine", "18.09.9", ["CVE-2024-24557", "CVE-2025-54410", ...NEW_ENGINE]],
    ["Engine", "20.10.27", ["CVE-2024-24557", "CVE-2024-41110", "CVE-2025-54410", ...NEW_ENGINE]],
    ["Engine", "23.0.15", ["CVE-2024-24557", "CVE-2025-54410", ...NEW_ENGINE]],
    ["Engine", "24.0.9", ["CVE-2024-41110", "CVE-2025-54410", ...NEW_ENGINE]],
    ["Engine", "25.0.1", ["CVE-2024-24557", "CVE-2024-41110", "CVE-2025-54410", ...NEW_ENGINE]],
    ["Engine", "25.0.13", NEW_ENGINE],
    ["Engine", "26.1.4", ["CVE-2024-41110", "CVE-2025-54410", ...NEW_ENGINE]],
    ["Engine", "27.1.0", ["CVE-2024-41110", "CVE-2025-54410", ...NEW_ENGINE]],
    ["Engine", "27.1.1", ["CVE-2025-54410", ...NEW_ENGINE]],
    ["Engine", "28.0.0", NEW_ENGINE],
    ["Engine", "29.3.1", ["CVE-2026-41567"]],
    ["Engine", "29.5.1", []],
    ["kernel", "4.10.0", []],
    ["kernel", "4.13.0", ["CVE-2026-43284"]],
    ["kernel", "5.10.253", ["CVE-2026-31431", "CVE-2026-43284"]],
    ["kernel", "5.10.254", ["CVE-2026-43284"]],
    ["kernel", "5.10.255", []],
    ["kernel", "6.12.86", ["CVE-2026-43284"]],
    ["kernel", "6.18.21", ["CVE-2026-31431", "CVE-2026-43284", "CVE-2026-43500"]],
    ["kernel", "6.18.27", ["CVE-2026-43284", "CVE-2026-43500"]],
    ["kernel", "6.18.28", ["CVE-2026-43500"]],
    ["kernel", "6.18.29", []],
    ["kernel", "7.0.4", ["CVE-2026-43284", "CVE-2026-43500"]],
    ["kernel", "7.0.6", []],
    ["kernel", "7.1-rc3", []],
    ["docker-init", "0.1.0", []],
    ["runc", "unknown", []],
  ] as const) {
    it(`${component} ${version} is open to ${ids.join(", ") || "none of them"}`, async () => {
      assert.deepEqual(await open(component, version), ids);
    });
  }
});

describe("known-holes: what a distribution mends under an old number", () => {
  const documents = useTempFolder();
  const write = async (name: string, text: string): Promise<void> => {
    await mkdir(path.join(documents(), name), { recursive: true });
    await writeFile(path.join(documents(), name, "changelog.Debian.gz"), gzipSync(text));
  };
  const mended = async (version: string): Promise<(string | undefined)[]> =>
    (await findHoles({ runc: version }, documents())).map(({ mendedBy }) => mendedBy);

  it("counts, when the changelog is that of the version that the engine reports", async () => {
    await write("runc", "runc (1.1.5+ds1-1+deb12u1) bookworm-security; urgency=high\n\n  * CVE-2024-21626: leaked fds\n");
    const package_ = "runc 1.1.5+ds1-1+deb12u1";
    assert.deepEqual(await mended("1.1.5+ds1"), [package_, undefined, undefined, undefined]);
    assert.deepEqual(await mended("1.1.5+ds1-1+deb12u1"), [package_, undefined, undefined, undefined]);
  });

  it("does not count for another version, though its number begins alike", async () => {
    await write("runc", "runc (1.1.55+ds1-1) unstable; urgency=high\n\n  * CVE-2024-21626\n");
    assert.deepEqual(await mended("1.1.5"), [undefined, undefined, undefined, undefined]);
  });

  for (const [what, bytes] of [
    ["is no archive", Buffer.from("plain")],
    ["is empty", gzipSync("")],
    ["has another form", gzipSync("CVE-2024-21626")],
  ] as const) {
    it(`does not count when the changelog ${what}`, async () => {
      await mkdir(path.join(documents(), "runc"), { recursive: true });
      await writeFile(path.join(documents(), "runc", "changelog.Debian.gz"), bytes);
      assert.deepEqual(await mended("1.1.5"), [undefined, undefined, undefined, undefined]);
    });
  }

  it("is shown beside what is open; open holes are a warning that says how to check", async () => {
    await write("runc", "runc (1.1.5+ds1-1) unstable; urgency=high\n\n  * CVE-2024-21626\n");
    const outcome = judgeHoles("parts", await findHoles({ runc: "1.1.5+ds1" }, documents()));
    assert.equal(outcome.status, "warn");
    assert.equal(outcome.found, "parts: 3 known holes, by version");
    assert.deepEqual(outcome.details, ["CVE-2024-21626: mended in runc 1.1.5+ds1-1, says its changelog"]);
    assert.deepEqual(
      outcome.advisories?.map(({ id }) => id),
      RUNC_2025,
    );
    assert.match(outcome.remedy ?? "", /Distribution packages carry fixes under older numbers: check with `apt changelog runc`/);
  });

  it("is all well when every hole is mended, or there is none", async () => {
    await write("runc", `runc (1.1.12-1) unstable; urgency=high\n\n  * ${RUNC_2025.join(", ")}\n`);
    assert.equal(judgeHoles("parts", await findHoles({ runc: "1.1.12" }, documents())).status, "ok");
    assert.deepEqual(judgeHoles("parts", []), { status: "ok", found: "parts" });
  });

  it("has advice for each part", () => {
    assert.match(adviceFor(new Set(["kernel"])), /^Update the kernel, and reboot\..*security tracker/);
    assert.match(adviceFor(new Set(["Engine", "runc"])), /^Update the engine and runc\..*apt changelog docker\.io runc/);
  });
});
