/** One attempt to connect to a server: to the point where its tools are known. */

import type { Logger } from "pino";

import type { McpServerDefinition, ServerTransport } from "../domain/mcp-server.ts";
import { StopSource } from "../lib/stop-source.ts";
import { CatalogueRefresher } from "./catalogue-refresher.ts";
import type { Catalogue } from "./catalogue.ts";
import type { Clock } from "./clock.ts";
import { openLink, reasonOf } from "./link.ts";
import type { Link } from "./link.ts";
import { LostAnswer } from "./lost-answer.ts";
import type { EndingTimes } from "./process-group.ts";
import type { Redactor } from "./redaction.ts";
import { ENDING_TIMES } from "./stdio-transport.ts";

export type ConnectableDefinition = McpServerDefinition & { readonly transport: ServerTransport };

export interface Failure {
  /** The server is there, and yet there can be no connection. */
  readonly reachable: boolean;
  /** Not redacted. */
  readonly reason: string;
}

export interface Opened {
  readonly link: Link;
  readonly refresher: CatalogueRefresher;
}

export interface OpenOptions {
  readonly definition: ConnectableDefinition;
  /** To the list of tools; the first attempt of a process may have to wait for a download. */
  readonly connectTimeoutMs: number | undefined;
  readonly endingTimes: EndingTimes | undefined;
  readonly logger: Logger | undefined;
  readonly clock: Clock;
  readonly redactor: Redactor;
  readonly signal: AbortSignal;
}

export interface OpenEvents {
  /** The first catalogue, and each one after it. */
  readonly onCatalogue: (catalogue: Catalogue) => void;
  readonly onRefreshFailure: (error: unknown) => void;
}

const CONNECT_TIMEOUT_MS = 60_000;

/** Leaves nothing behind when it fails. Does not throw. */
export async function openConnection(
  {
    clock,
    connectTimeoutMs: timeoutMs = CONNECT_TIMEOUT_MS,
    definition,
    endingTimes = ENDING_TIMES,
    logger,
    redactor,
    signal,
  }: OpenOptions,
  { onCatalogue, onRefreshFailure }: OpenEvents,
): Promise<Opened | Failure> {
  const stop = new StopSource().follow(signal).abortAfter(timeoutMs, () => new Error(`no connection within ${timeoutMs} ms`));
  let link: Link | undefined;
  const refresher = new CatalogueRefresher({
    clock,
    read: () => link?.listTools(definition.timeoutMs) ?? Promise.reject(new Error("there is no connection yet")),
    onCatalogue,
    onFailure: onRefreshFailure,
  });
  try {
    const onToolsChanged = (): void => {
      refresher.changed();
    };
    const opening = await openLink({ definition, endingTimes, logger, redactor, onToolsChanged }, stop.signal);
    link = opening;
    stop.signal.addEventListener("abort", () => void opening.close());
    onCatalogue(await opening.listTools(timeoutMs));
    return { link, refresher };
  } catch (error) {
    refresher.stop();
    await link?.close();
    if (stop.signal.aborted) return { reachable: false, reason: reasonOf(stop.signal.reason) };
    if (link === undefined || (error as { data?: unknown }).data instanceof LostAnswer)
      return { reachable: false, reason: lostReason(error) };
    return { reachable: true, reason: `connected, but its tools cannot be listed: ${reasonOf(error)}` };
  } finally {
    stop.close();
  }
}

function lostReason(error: unknown): string {
  const { data } = error as { data?: unknown };
  return data instanceof LostAnswer ? data.reason : reasonOf(error);
}
