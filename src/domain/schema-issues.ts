/** What a schema found wrong, one problem a line, with the path of the field that it is about. */

import type { z } from "zod";

export interface SchemaProblem {
  readonly path: readonly string[];
  readonly message: string;
}

/** The problems of an issue: an unknown field is named in the path, a bad key says what is wrong with it. */
export function problemsOf(issue: z.core.$ZodIssue, unknownField: string): SchemaProblem[] {
  const path = issue.path.map(String);
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.map((key) => ({ path: [...path, key], message: unknownField }));
    case "invalid_key":
      return issue.issues.map(({ message }) => ({ path, message }));
    default:
      return [{ path, message: issue.message }];
  }
}
