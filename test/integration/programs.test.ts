/**
 * The language, the result and the end of programs: every case of the fixtures, through the API. Each on the line of Node that ships, where
 * its expectation holds; every fifth on the others too. test/soak runs each on every line.
 */

import { NODE_LINES, runPrograms } from "../helpers/programs.ts";

describe("Programs", () => {
  runPrograms(({ untilNode = Infinity }, index) => (index % 5 === 0 || untilNode < 24 ? NODE_LINES : ["24"]));
});
