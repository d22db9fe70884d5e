import js from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

const noEnvironment = {
  object: "process",
  property: "env",
  message: "Only src/config reads the environment; take the value as a parameter.",
};
const noExit = {
  object: "process",
  property: "exit",
  message: "Only src/main.ts ends the process; return, throw or set process.exitCode.",
};
const noCombinedSignal = {
  object: "AbortSignal",
  property: "any",
  message: "It can lose an abort to the garbage collector; take src/lib/stop-source.ts.",
};
const namedImports = {
  name: "node:process",
  importNames: ["env", "exit"],
  message: "Write process.env and process.exit, so that the rules about them see it.",
};

export default defineConfig(
  globalIgnores(["dist/", "coverage/", ".cache/", "**/fixtures/programs/"]),
  js.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: "error" },
    rules: {
      "@typescript-eslint/consistent-type-definitions": "off",
      "@typescript-eslint/dot-notation": ["error", { allowIndexSignaturePropertyAccess: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true, ignoreVoidOperator: true }],
      "@typescript-eslint/no-unnecessary-condition": ["error", { allowConstantLoopConditions: "only-allowed-literals" }],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_", caughtErrors: "all" }],
      "@typescript-eslint/prefer-readonly": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      eqeqeq: "error",
      "no-console": "error",
      "no-restricted-imports": ["error", { paths: [namedImports] }],
      "no-restricted-properties": ["error", noCombinedSignal, noEnvironment, noExit],
      "object-shorthand": "error",
    },
  },
  {
    name: "size",
    files: ["src/**/*.ts", "sandbox-image/runner/**/*.ts", "scripts/**/*.ts"],
    rules: {
      "max-lines": ["error", { max: 400, skipBlankLines: true, skipComments: true }],
      "max-lines-per-function": ["error", { max: 80, skipBlankLines: true, skipComments: true }],
      "max-params": ["error", 5],
    },
  },
  {
    name: "who may read the environment",
    files: ["src/config/**/*.ts"],
    rules: { "no-restricted-properties": ["error", noCombinedSignal, noExit] },
  },
  {
    name: "who may end the process",
    files: ["src/main.ts", "sandbox-image/runner/**/*.ts"],
    rules: { "no-restricted-properties": ["error", noCombinedSignal, noEnvironment] },
  },
  {
    name: "tools and tests run outside the service",
    files: ["scripts/**/*.ts", "test/**/*.ts", "bench/**/*.ts", "examples/**/*.ts"],
    rules: { "no-restricted-properties": ["error", noCombinedSignal, noExit] },
  },
  {
    name: "who may write to the terminal",
    files: ["src/cli/**/*.ts", "scripts/**/*.ts", "bench/**/*.ts", "examples/**/*.ts", "sandbox-image/runner/**/*.ts"],
    rules: { "no-console": "off" },
  },
  {
    name: "tests",
    files: ["test/**/*.ts"],
    rules: {
      "@typescript-eslint/no-non-null-assertion": "off",
      // What a test reads from the wire is what it is about to assert: a cast before it would say less.
      "@typescript-eslint/no-unsafe-argument": "off",
      "@typescript-eslint/no-unsafe-assignment": "off",
      "@typescript-eslint/no-unsafe-call": "off",
      "@typescript-eslint/no-unsafe-member-access": "off",
      "@typescript-eslint/no-unsafe-return": "off",
    },
  },
  {
    files: ["**/*.{js,cjs,mjs}"],
    languageOptions: {
      globals: {
        module: "writable",
        require: "readonly",
        process: "readonly",
        console: "readonly",
        URL: "readonly",
        AbortSignal: "readonly",
      },
    },
  },
);
