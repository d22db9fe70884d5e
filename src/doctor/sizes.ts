/** Sizes as people read them, rounded. */

export const MIB = 2 ** 20;
export const GIB = 2 ** 30;

export const readableSize = (bytes: number): string => (bytes >= GIB ? `${(bytes / GIB).toFixed(1)} GB` : `${Math.floor(bytes / MIB)} MB`);
