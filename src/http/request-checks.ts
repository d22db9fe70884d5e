/** Small checks that several routes share. */

import type { RequestHandler } from "express";

import { AppError } from "../domain/errors.ts";
import { exceededCap } from "../lib/json-shape.ts";
import { CROWDED } from "./errors.ts";

/** Refuses a body that is not declared as JSON: browsers send other types across sites without asking first. */
export const requireJson: RequestHandler = (request, _response, next) => {
  if (request.is("application/json") === false || request.headers["content-type"] === undefined) {
    throw new AppError({ code: "UNSUPPORTED_MEDIA_TYPE", message: 'Send JSON, with "Content-Type: application/json".' });
  }
  next();
};

/** Levels of nesting, and what a request has beside its files. Far more than any needs. */
const MAX_DEPTH = 64;
const PARTS_WITHOUT_FILES = 20_000;
/** The parts of one file: an object with three fields, and what separates them. */
const PARTS_OF_FILE = 8;

/**
 * A look at the bytes of a body before they are parsed, for the body parser.
 *
 * Parsing some 30 MB of empty objects or short fields takes ten seconds in which the service does nothing else; the same size as text in
 * a few files takes a tenth of one. `maxFiles` is asked for each body: a reload may change it.
 */
export function refuseCrowdedText(maxFiles: () => number): (request: unknown, response: unknown, body: Buffer, encoding: string) => void {
  return (_request, _response, body, encoding) => {
    const caps = { depth: MAX_DEPTH, parts: PARTS_WITHOUT_FILES + PARTS_OF_FILE * maxFiles() };
    if (encoding !== "utf-8") throw Object.assign(new Error(encoding), { type: "charset.unsupported" });
    if (exceededCap(body, caps) !== undefined) throw Object.assign(new Error("crowded"), { type: CROWDED });
  };
}

/** More fields than an object of the API has, and more levels than any has. */
const MAX_FIELDS = 1000;
const MAX_LEVELS = 8;

/** Refuses a body with a senseless number of fields: a schema would make a problem, an object of its own, of each. */
export const refuseCrowded: RequestHandler = (request, _response, next) => {
  if (!isCrowded(request.body, 0)) {
    next();
    return;
  }
  throw new AppError({
    code: "INVALID_REQUEST",
    message: `The request is not valid: an object in it has more than ${MAX_FIELDS} fields.`,
  });
};

/** Deep nesting is not looked into: the schema refuses it before it looks into it itself. */
function isCrowded(value: unknown, level: number): boolean {
  if (typeof value !== "object" || value === null || level > MAX_LEVELS) return false;
  const items: unknown[] = Object.values(value);
  return (!Array.isArray(value) && items.length > MAX_FIELDS) || items.some((item) => isCrowded(item, level + 1));
}

/** For the methods that a path does not have. */
export function methodNotAllowed(allow: string): RequestHandler {
  return (request, response) => {
    response.set("Allow", allow);
    throw new AppError({ code: "METHOD_NOT_ALLOWED", message: `${request.method} is not possible here; use ${allow}.` });
  };
}
