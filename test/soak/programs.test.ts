/** Every program of the fixtures on every line of Node: test/integration runs most of them on one. */

import { NODE_LINES, runPrograms } from "../helpers/programs.ts";

describe("Soak: programs", () => {
  runPrograms(() => NODE_LINES);
});
