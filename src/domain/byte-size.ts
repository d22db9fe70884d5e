/** Sizes as people write them: `"512MB"` is 512 × 2^20 bytes, as Docker reads it. */

export const MIB = 2 ** 20;
export const GIB = 2 ** 30;

const UNITS: Readonly<Record<string, number>> = { "": 1, B: 1, K: 2 ** 10, KB: 2 ** 10, M: 2 ** 20, MB: 2 ** 20, G: 2 ** 30, GB: 2 ** 30 };

/** Says what {@link parseByteSize} takes; for error messages. */
export const BYTE_SIZE_FORMAT = 'a size such as "512MB", "1.5GB" or a number of bytes';

/** Bytes of a size, or `undefined` when the text is none. Fractions are rounded down to whole bytes. */
export function parseByteSize(value: string | number): number | undefined {
  if (typeof value === "number") return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
  const match = /^(\d{1,15}(?:\.\d{1,6})?)\s*([KMG]?B?)$/i.exec(value.trim());
  const [, digits, unit] = match ?? [];
  if (digits === undefined || unit === undefined) return undefined;
  const bytes = Math.floor(Number(digits) * (UNITS[unit.toUpperCase()] ?? Number.NaN));
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

/** The shortest exact spelling of a number of bytes: `536870912` is `512MB`. */
export function formatByteSize(bytes: number): string {
  for (const [unit, factor] of [
    ["GB", 2 ** 30],
    ["MB", 2 ** 20],
    ["KB", 2 ** 10],
  ] as const) {
    if (bytes >= factor && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}B`;
}

/** Rounded, for a report. */
export const readableSize = (bytes: number): string => (bytes >= GIB ? `${(bytes / GIB).toFixed(1)} GB` : `${Math.floor(bytes / MIB)} MB`);
