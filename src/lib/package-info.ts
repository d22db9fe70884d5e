/** Where this package is installed, and its version. */

import { readFileSync } from "node:fs";
import path from "node:path";

/** The package's folder: the nearest one above this file that has a package.json, from sources and from dist/ alike. */
export const packageRoot: string = path.resolve(import.meta.dirname, "..", "..");

/** The version in package.json. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(path.join(packageRoot, "package.json"), "utf8")) as { version: string };
  return version;
}
