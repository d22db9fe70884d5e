// Reads the sales of two years, adds them up by month, fits a line through the months, and finds the orders that are out of all proportion.
// The default export is the result; the report is an output file.

import { readFile, writeFile } from "node:fs/promises";

interface Order {
  readonly id: string;
  readonly month: string;
  readonly product: string;
  readonly units: number;
  readonly amount: number;
}

/** The records of a CSV text. A field in quotes may hold commas, and quotes that are doubled. */
function parseCsv(text: string): string[][] {
  return text
    .trim()
    .split("\n")
    .map((line) => [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)])
    .map((fields) => fields.map(([, quoted, plain]) => quoted?.replaceAll('""', '"') ?? plain ?? ""));
}

function toOrder([id = "", date = "", , product = "", units = "", unitPrice = ""]: string[]): Order {
  return { id, month: date.slice(0, 7), product, units: Number(units), amount: Number(units) * Number(unitPrice) };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.floor(middle)] ?? 0) + (sorted[Math.ceil(middle - 1)] ?? 0)) / 2;
}

/** Orders of a size far from the median, measured by the median distance from it: a yardstick that outliers hardly move. */
function outliers(orders: readonly Order[]): Order[] {
  const centre = median(orders.map((order) => order.units));
  const spread = median(orders.map((order) => Math.abs(order.units - centre)));
  return orders.filter((order) => (0.6745 * Math.abs(order.units - centre)) / spread > 5);
}

/** The least-squares line through the values at 0, 1, 2, … */
function fitLine(values: readonly number[]): { start: number; perStep: number; r2: number } {
  const meanX = (values.length - 1) / 2;
  const meanY = values.reduce((sum, y) => sum + y, 0) / values.length;
  const covariance = values.reduce((sum, y, x) => sum + (x - meanX) * (y - meanY), 0);
  const varianceX = values.reduce((sum, _, x) => sum + (x - meanX) ** 2, 0);
  const varianceY = values.reduce((sum, y) => sum + (y - meanY) ** 2, 0);
  const perStep = covariance / varianceX;
  return { start: meanY - perStep * meanX, perStep, r2: covariance ** 2 / (varianceX * varianceY) };
}

const orders = parseCsv(await readFile("in/sales.csv", "utf8"))
  .slice(1)
  .map(toOrder);
console.log(`read ${orders.length} orders, from ${orders[0]?.month} to ${orders.at(-1)?.month}`);
const unusual = outliers(orders);

const months = new Map<string, number>();
for (const order of orders) {
  if (!unusual.includes(order)) months.set(order.month, (months.get(order.month) ?? 0) + order.amount);
}
const totals = [...months.values()];
const trend = fitLine(totals);
const largest = Math.max(...totals);

const report = [
  "# Sales by month",
  "",
  ...[...months].map(([month, total]) => `    ${month} ${total.toFixed(0).padStart(7)} ${"#".repeat(Math.round((total / largest) * 40))}`),
  "",
  `Trend: ${trend.perStep.toFixed(0)} more each month (R² ${trend.r2.toFixed(2)}).`,
  "",
  "Left out as unusual:",
  ...unusual.map(({ id, month, product, units, amount }) => `- order ${id} of ${month}: ${units} × ${product}, ${amount.toFixed(0)}`),
  "",
];
await writeFile("temp/report.md", report.join("\n"));

export default {
  orders: orders.length,
  months: months.size,
  total: Math.round(totals.reduce((sum, total) => sum + total, 0)),
  trendPerMonth: Math.round(trend.perStep),
  nextMonth: Math.round(trend.start + trend.perStep * totals.length),
  unusualOrders: unusual.map((order) => order.id),
};
