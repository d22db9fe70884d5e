/**
 * What the engine says during a build or a pull: JSON lines, in which failures come too, after a status of 200.
 */

import { StringDecoder } from "node:string_decoder";
import { z } from "zod";
import { ImageBuildError, messageOf } from "./image-error.ts";

const messageSchema = z.object({
  error: z.string().optional(),
  /** The id of the image, once it is built. */
  aux: z.object({ ID: z.string().optional() }).optional(),
});

/** Far above any line of a build's log; an engine that sends more is not one. */
const MAX_LINE_CHARS = 1_048_576;

/**
 * Reads the messages to the end and returns the id of the built image, if one was named.
 *
 * A stream that breaks off rejects; one that ends early without an error is for the caller to notice, by the missing id.
 */
export async function readEngineMessages(stream: NodeJS.ReadableStream): Promise<string | undefined> {
  const decoder = new StringDecoder("utf8");
  let pending = "";
  let imageId: string | undefined;

  const take = (line: string): void => {
    if (line.trim() === "") return;
    const message = parseMessage(line);
    if (message.error !== undefined) throw new ImageBuildError("engine_failed", `The Docker engine reports: ${message.error.trim()}`);
    imageId = message.aux?.ID ?? imageId;
  };

  for await (const chunk of stream) {
    pending += typeof chunk === "string" ? chunk : decoder.write(chunk);
    const lines = pending.split("\n");
    pending = lines.pop() ?? "";
    if (pending.length > MAX_LINE_CHARS) throw new ImageBuildError("engine_failed", "The Docker engine sent a line without an end.");
    lines.forEach(take);
  }
  take(pending + decoder.end());
  return imageId;
}

function parseMessage(line: string): z.infer<typeof messageSchema> {
  try {
    return messageSchema.parse(JSON.parse(line));
  } catch (error) {
    throw new ImageBuildError("engine_failed", `The Docker engine sent a line that is no message: ${line.slice(0, 200)}`, error);
  }
}

/** Whether the engine answered, and said that there is no such thing. */
export function isNotFound(error: unknown): boolean {
  return statusOf(error) === 404;
}

export function statusOf(error: unknown): number | undefined {
  return error instanceof Error && "statusCode" in error && typeof error.statusCode === "number" ? error.statusCode : undefined;
}

/** Turns what a call to the engine threw into an error that says what to do. */
export function engineError(error: unknown, doing: string): ImageBuildError {
  if (error instanceof ImageBuildError) return error;
  if (statusOf(error) !== undefined) {
    return new ImageBuildError("engine_failed", `The Docker engine failed while ${doing}: ${messageOf(error)}`, error);
  }
  return new ImageBuildError(
    "engine_unavailable",
    `The Docker engine does not answer (while ${doing}: ${messageOf(error)}). Start it, make sure that this user may use its socket, and check DOCKER_HOST.`,
    error,
  );
}
