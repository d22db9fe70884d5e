/**
 * The layers of ARCHITECTURE.md as rules. Dependencies point inwards; only app.ts, main.ts and the command line see everything.
 *
 * `npmOnly` and `layer` are the two shapes that most rules have: who alone may import a package, and what a folder may import of src/.
 */

/** Only files below `from` may import the packages. */
const npmOnly = (name, from, packages) => ({
  name,
  severity: "error",
  comment: `Only ${from} may import ${packages.join(", ")}.`,
  from: { path: "^src/", pathNot: from },
  to: { path: packages.map((name) => `^node_modules/${name}/|^${name}$`) },
});

/** Files below `src/<folder>` import nothing of src/ but these. */
const layer = (folder, allowed, extra = {}) => ({
  name: `${folder.replace("/", "-")}-layer`,
  severity: "error",
  comment: `src/${folder} imports nothing of src/ but: ${allowed.join(", ") || "nothing"}.`,
  from: { path: `^src/${folder}/`, ...extra },
  to: { path: "^(src|sandbox-image|test|scripts|bench|examples)/", pathNot: [`^src/${folder}/`, ...allowed] },
});

const DOMAIN = "^src/domain/";
const LIB = "^src/lib/";
/** The ports of the sandbox and the wire format; not the engine behind the one, nor what serves the other. */
const SANDBOX_PORTS = "^src/sandbox/[^/]+$";
const EXECUTION = "^src/execution/";
const OBSERVABILITY = "^src/observability/";
/** The tests that drive the composition root and the command line from outside. */
const COMPOSITION = "^src/(app|compose|configuration|main|index)\\.ts$|^src/cli/";

module.exports = {
  forbidden: [
    {
      name: "no-cycles",
      severity: "error",
      from: {},
      to: { circular: true },
    },
    {
      name: "no-orphans",
      severity: "error",
      comment: "A file that nothing imports and that imports nothing is dead.",
      from: {
        orphan: true,
        path: "^(src|sandbox-image)/",
        pathNot: ["\\.d\\.ts$", "^src/(main|index)\\.ts$", "^sandbox-image/runner/(main|typescript)\\.ts$"],
      },
      to: {},
    },
    {
      name: "resolvable",
      severity: "error",
      from: {},
      to: { couldNotResolve: true, pathNot: "^/opt/code-mode/" },
    },
    {
      name: "declared-packages",
      severity: "error",
      comment: "What the package runs must be in its dependencies; what is bundled, checked or tested is a devDependency.",
      from: { path: "^src/" },
      to: { dependencyTypes: ["npm-dev", "npm-no-pkg", "npm-unknown"], dependencyTypesNot: ["type-only"] },
    },
    {
      name: "no-tests-in-production",
      severity: "error",
      from: { path: "^(src|sandbox-image)/" },
      to: { path: "^(test|scripts|bench|examples)/" },
    },
    {
      name: "only-the-composition-sees-everything",
      severity: "error",
      comment: "app.ts, compose.ts and configuration.ts are imported by each other, main.ts, index.ts and the command line only.",
      from: { path: "^src/", pathNot: COMPOSITION },
      to: { path: COMPOSITION },
    },

    layer("lib", []),
    layer("domain", []),
    {
      name: "domain-packages",
      severity: "error",
      comment: "The only package of the domain is zod.",
      from: { path: DOMAIN },
      to: { path: "^node_modules/", pathNot: "^node_modules/zod/" },
    },
    {
      name: "domain-is-pure",
      severity: "error",
      comment: "The domain computes: of Node it takes what does no I/O.",
      from: { path: DOMAIN },
      to: { dependencyTypes: ["core"], pathNot: "^(path|path/posix|net|url|util|crypto|buffer)$" },
    },
    layer("observability", [DOMAIN, LIB, EXECUTION, SANDBOX_PORTS]),
    layer("config", [DOMAIN, LIB]),
    layer("bridge", [DOMAIN, LIB, SANDBOX_PORTS]),
    layer("execution", [DOMAIN, LIB, SANDBOX_PORTS]),
    layer("sandbox", [DOMAIN, LIB, "^src/bridge/protocol\\.ts$"], { pathNot: "^src/sandbox/docker/" }),
    layer("sandbox/docker", [DOMAIN, LIB, SANDBOX_PORTS, "^src/bridge/"]),
    layer("doctor", [DOMAIN, LIB, "^src/audit/", "^src/config/", "^src/mcp/", "^src/sandbox/"]),
    layer("security", [DOMAIN, LIB]),
    layer("audit", [DOMAIN, LIB]),
    layer("mcp", [DOMAIN, LIB, "^src/security/", "^src/execution/tool-access\\.ts$", SANDBOX_PORTS]),
    layer("http", [DOMAIN, LIB, EXECUTION, OBSERVABILITY, SANDBOX_PORTS, "^src/audit/"]),
    {
      name: "ports-know-no-engine",
      severity: "error",
      from: { path: SANDBOX_PORTS },
      to: { path: "^src/sandbox/docker/" },
    },

    npmOnly("engine-client", "^src/sandbox/docker/", ["dockerode", "@types/dockerode", "docker-modem"]),
    npmOnly("mcp-client", "^src/mcp/", ["@modelcontextprotocol/sdk"]),
    {
      name: "mcp-client-is-loaded-late",
      severity: "error",
      comment: "The MCP SDK takes longer to load than most commands run: types, and import() where a connection is made.",
      from: { path: "^src/" },
      to: { path: "^node_modules/@modelcontextprotocol/", dependencyTypesNot: ["type-only", "dynamic-import"] },
    },
    npmOnly("web-framework", "^src/http/", ["express", "@types/express", "helmet", "pino-http"]),
    npmOnly("terminal-options", "^src/(cli/|main\\.ts$)", ["commander"]),
    {
      name: "logger",
      severity: "error",
      comment: "Only src/observability makes loggers; all else is given one, and knows its type.",
      from: { path: "^src/", pathNot: "^src/(observability|http)/" },
      to: { path: "^node_modules/(pino|pino-pretty)/", dependencyTypesNot: ["type-only"] },
    },

    {
      name: "runner-layer",
      severity: "error",
      comment: "The runner is bundled for the sandbox; of the service it takes the wire format and nothing else.",
      from: { path: "^sandbox-image/" },
      to: { path: "^src/", pathNot: "^src/bridge/(protocol|frames|path-pattern)\\.ts$" },
    },
    {
      name: "runner-carries-no-zod",
      severity: "error",
      comment: "The runner is started for each execution and parses nothing with schemas: types only from protocol.ts.",
      from: { path: "^sandbox-image/" },
      to: { path: ["^src/bridge/protocol\\.ts$", "^node_modules/zod/"], dependencyTypesNot: ["type-only"] },
    },
  ],
  options: {
    doNotFollow: { path: "node_modules" },
    exclude: { path: "^(dist|coverage|workspace|\\.cache)/" },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    enhancedResolveOptions: {
      exportsFields: ["exports"],
      conditionNames: ["types", "import", "node", "default"],
      extensions: [".ts", ".js", ".cjs", ".mjs", ".d.ts", ".json"],
    },
    cache: { folder: ".cache/dependency-cruiser", strategy: "content" },
  },
};
