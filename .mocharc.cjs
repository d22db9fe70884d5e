// No `spec` here: mocha would add it to the files named on the command line.
module.exports = {
  "node-option": ["import=tsx"],
  extension: ["ts"],
  reporter: "./test/reporter.ts",
  timeout: 60_000,
  slow: 2_000,
  "fail-zero": true,
  "forbid-only": process.env.CI === "true",
};
