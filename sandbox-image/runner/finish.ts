/**
 * The last thing that the runner does: the end of all other processes, result, output files, marker. All of it synchronous, so that
 * nothing of the program runs in between. Every step is bounded in time; a service that is gone is no reason to stay.
 */

import type { CloseParams, CollectParams, NotedDenial } from "../../src/bridge/protocol.ts";
import type { Connection } from "./connection.ts";
import type { ErrorReport } from "./error-report.ts";
import { Buffer, now, stringifyJson } from "./intrinsics.ts";
import { endOtherProcesses } from "./other-processes.ts";
import { archiveOutputFiles } from "./output-files.ts";
import { writeFully } from "./sync-io.ts";

/** For the result, and for the answer to it: the service waits a little for calls of tools that are still under way. */
const SOCKET_TIMEOUT_MS = 10_000;
/** For calls that were made and not sent yet. The service takes no more while others are under way, and ends a program at its deadline. */
const CALLS_TIMEOUT_MS = 120_000;
/** For each piece of an archive. The service takes one when the one before is on a disk, and ends a program at its own deadline. */
const PIECE_TIMEOUT_MS = 120_000;
const MARKER_TIMEOUT_MS = 2_000;
/** For processes that are killed already: a little when the machine is busy. */
const OTHERS_TIMEOUT_MS = 2_000;
const OUTPUT_FDS = [1, 2] as const;

export interface Outcome {
  /** JSON text. */
  readonly result: string;
  readonly error: ErrorReport | null;
  readonly exitCode: number;
  readonly denials: readonly NotedDenial[];
}

export interface FinishDeps {
  readonly connection: Connection;
  /** Absolute path. */
  readonly workspace: string;
  /** Undoes what makes writing to fds 1 and 2 wait without a bound. */
  readonly unblockOutput: () => void;
}

export function finish({ connection, workspace, unblockOutput }: FinishDeps, outcome: Outcome): void {
  connection.takeOver();
  endOtherProcesses(now() + OTHERS_TIMEOUT_MS);
  if (!connection.flush(now() + CALLS_TIMEOUT_MS)) return;
  const { result, error, exitCode, denials } = outcome;
  const params = `{"result":${result},"error":${stringifyJson(error)},"exitCode":${exitCode},"denials":${stringifyJson(denials)}}`;
  const isSent = connection.sendJson(`{"jsonrpc":"2.0","method":"finished","params":${params}}`, now() + SOCKET_TIMEOUT_MS);
  const close = isSent ? receiveClose(connection) : undefined;
  if (close === undefined) return;
  for (const collect of close.archives) sendArchive(connection, workspace, collect);
  unblockOutput();
  writeMarker(close.marker);
}

/** What else was under way is of no use any more. */
function receiveClose(connection: Connection): CloseParams | undefined {
  const deadline = now() + SOCKET_TIMEOUT_MS;
  for (;;) {
    const message = connection.receive(deadline);
    if (message === undefined) return undefined;
    if (message.method === "close") return message.params as CloseParams;
  }
}

function sendArchive(connection: Connection, workspace: string, collect: CollectParams): void {
  const write = (piece: Uint8Array): void => {
    if (!connection.sendArchive(piece, now() + PIECE_TIMEOUT_MS)) throw new Error("the service does not read");
  };
  const params = archiveOutputFiles(workspace, collect, { write });
  write(Buffer.alloc(0));
  connection.send({ method: "archived", params }, now() + PIECE_TIMEOUT_MS);
}

function writeMarker(marker: string): void {
  for (const fd of OUTPUT_FDS) {
    try {
      writeFully(fd, Buffer.from(marker), now() + MARKER_TIMEOUT_MS);
    } catch {
      // Closed by the program, or by the other side.
    }
  }
}
