/** The MCP SDK, loaded when the first connection needs it: it takes longer to load than most commands run. */

import type { Client } from "@modelcontextprotocol/sdk/client/index.js";

import { packageVersion } from "../lib/package-info.ts";

/** A client that offers nothing: a server may ask for no model, no folders and no input; the SDK answers that it knows no such method. */
export async function createClient(): Promise<Client> {
  const sdk = await import("@modelcontextprotocol/sdk/client/index.js");
  return new sdk.Client(
    { name: "code-mode", version: packageVersion() },
    // No schema of a server is compiled: nothing here asks the SDK for a list or a call that would do it.
    {
      capabilities: {},
      jsonSchemaValidator: { getValidator: () => () => ({ valid: false, data: undefined, errorMessage: "not checked" }) },
    },
  );
}

/** What every child process gets of the service's environment: HOME, PATH and a few more, none of which is a secret. */
export async function defaultEnvironment(): Promise<Record<string, string>> {
  const { getDefaultEnvironment } = await import("@modelcontextprotocol/sdk/client/stdio.js");
  return getDefaultEnvironment();
}
