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

/** For the methods that a path does not have. */
export function methodNotAllowed(allow: string): RequestHandler {
  return (request, response) => {
    response.set("Allow", allow);
    throw new AppError({ code: "METHOD_NOT_ALLOWED", message: `${request.method} is not possible here; use ${allow}.` });
  };
}
