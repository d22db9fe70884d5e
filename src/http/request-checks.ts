/** Small checks that several routes share. */

import type { RequestHandler } from "express";

import { AppError } from "../domain/errors.ts";

/** Refuses a body that is not declared as JSON: browsers send other types across sites without asking first. */
export const requireJson: RequestHandler = (request, _response, next) => {
  if (request.is("application/json") === false || request.headers["content-type"] === undefined) {
    throw new AppError({ code: "UNSUPPORTED_MEDIA_TYPE", message: 'Send JSON, with "Content-Type: application/json".' });
  }
  next();
};

/** More fields than an object of the API has, than a request with the most files has, and more levels than any has. */
const MAX_FIELDS = 1000;
const MAX_FIELDS_TOGETHER = 400_000;
const MAX_LEVELS = 8;

/** Refuses a body with a senseless number of fields: a schema would make a problem, an object of its own, of each of millions. */
export const refuseCrowded: RequestHandler = (request, _response, next) => {
  if (!isCrowded(request.body, 0, { left: MAX_FIELDS_TOGETHER })) {
    next();
    return;
  }
  throw new AppError({
    code: "INVALID_REQUEST",
    message: `The request is not valid: an object in it has more than ${MAX_FIELDS} fields, or all together have more than ${MAX_FIELDS_TOGETHER}.`,
  });
};

/** Long lists and deep nesting are not looked into: the schema refuses them before it looks into them itself. */
function isCrowded(value: unknown, level: number, budget: { left: number }): boolean {
  if (typeof value !== "object" || value === null || level > MAX_LEVELS) return false;
  if (Array.isArray(value)) return value.length < MAX_FIELDS_TOGETHER && value.some((item) => isCrowded(item, level + 1, budget));
  let fields = 0;
  for (const name in value) {
    fields += 1;
    budget.left -= 1;
    if (fields > MAX_FIELDS || budget.left < 0) return true;
    if (isCrowded((value as Readonly<Record<string, unknown>>)[name], level + 1, budget)) return true;
  }
  return false;
}

/** For the methods that a path does not have. */
export function methodNotAllowed(allow: string): RequestHandler {
  return (request, response) => {
    response.set("Allow", allow);
    throw new AppError({ code: "METHOD_NOT_ALLOWED", message: `${request.method} is not possible here; use ${allow}.` });
  };
}
