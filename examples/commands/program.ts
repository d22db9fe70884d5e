// Keeps the prices of a shop in a git repository, and asks git and jq what changed between two versions. Both commands are in the
// runtime's `allowedCommands`; curl is not, or the request has left it out, so that it can be neither run nor read.

import { execFileSync, spawnSync } from "node:child_process";
import { accessSync, constants, writeFileSync } from "node:fs";

type Prices = Readonly<Record<string, number>>;

/** What a command prints. Throws when it fails. */
function run(command: string, args: readonly string[], input = ""): string {
  return execFileSync(command, args, { cwd: "repo", input, encoding: "utf8", stdio: ["pipe", "pipe", "inherit"] }).trim();
}

const git = (...args: string[]): string => run("git", args);

function commit(prices: Prices, message: string): void {
  writeFileSync("repo/prices.json", JSON.stringify(prices, null, 2));
  git("add", "prices.json");
  git("commit", "--quiet", "--message", message);
}

/** The two versions one after the other, and what jq makes of them. */
function changes(): unknown {
  const versions = ["HEAD~1", "HEAD"].map((version) => git("show", `${version}:prices.json`)).join("\n");
  const filter = ".[0] as $old | .[1] | to_entries | map(select(.value != $old[.key]) | {(.key): [$old[.key], .value]}) | add";
  return JSON.parse(run("jq", ["--slurp", filter], versions));
}

/** How curl is refused: the error of starting it, and of reading its file. */
function tryCurl(): { start: string; read: string } {
  const { error } = spawnSync("curl", ["--version"]);
  let read = "ok";
  try {
    accessSync("/usr/bin/curl", constants.R_OK);
  } catch (refusal) {
    read = (refusal as NodeJS.ErrnoException).code ?? "failed";
  }
  return { start: (error as NodeJS.ErrnoException | undefined)?.code ?? "ok", read };
}

git("init", "--quiet", "--initial-branch", "main");
git("config", "user.name", "Shop");
git("config", "user.email", "shop@example.com");
commit({ tea: 3, coffee: 4, cake: 5 }, "Opening prices");
commit({ tea: 3, coffee: 5, cake: 4, juice: 2 }, "Coffee is dear now");

export default { log: git("log", "--format=%s").split("\n"), changes: changes(), curl: tryCurl() };
