/** The sandbox images: those that the configuration needs, and what is left of older ones. */

import { readableSize } from "../domain/byte-size.ts";
import { describeImage } from "../domain/image-spec.ts";
import { isNeededBy, listSandboxImages } from "../sandbox/docker/image/find-image.ts";
import type { FoundImage, SandboxImage } from "../sandbox/docker/image/find-image.ts";
import type { Check, Outcome } from "./check.ts";
import type { Facts, RuntimeImage } from "./facts.ts";

export const imageChecks = (facts: Facts): Check[] => [
  { id: "images.current", title: "Sandbox images", run: async () => judgeImages(await facts.images.ask()) },
  {
    id: "images.older",
    title: "Older images",
    run: async () => {
      const images = await facts.images.need();
      return judgeOlder(
        await listSandboxImages(facts.connect(), facts.imagePrefix),
        images.map(({ found }) => found),
      );
    },
  },
];

export function judgeImages(images: readonly RuntimeImage[]): Outcome {
  const lines = images.map(({ found, spec }) =>
    found.state === "ready" ? `${describeImage(spec)}: ${found.tag}, Node ${found.nodeVersion}` : `${describeImage(spec)}: ${found.state}`,
  );
  const [only = "none is needed", ...more] = lines;
  const shown = more.length === 0 ? { found: only } : { found: `${lines.length} images`, details: lines };
  return images.every(({ found }) => found.state === "ready")
    ? { status: "ok", ...shown }
    : { status: "fail", ...shown, remedy: "Run `code-mode image build` (in a clone: `make sandbox-image`)." };
}

/** What a current sandbox image stands on is current too. */
export function judgeOlder(all: readonly SandboxImage[], current: readonly FoundImage[]): Outcome {
  const ids = new Set(current.flatMap((image) => (image.state === "ready" ? [image.id] : [])));
  const isCurrent = isNeededBy(all.filter(({ id }) => ids.has(id)));
  const older = all.filter((image) => !isCurrent(image));
  if (older.length === 0) return { status: "ok", found: "none" };
  const bytes = older.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return {
    status: "info",
    found: `${older.length}, of ${readableSize(bytes)} together, shared layers counted more than once`,
    remedy: "`code-mode image prune` removes those that no container uses.",
  };
}
