// Keeps a summary of incident notes in a long-term memory: recalls what it knows already, reads the notes that are missing through a
// second server, and stores what each is about and what is still to be done. The sandbox itself has neither network nor files.

interface Entity {
  readonly name: string;
  readonly entityType: string;
  readonly observations: readonly string[];
}

// The servers of mcp-servers.json, each a global whose functions are its tools. Declared for the editor: at run time they are there.
declare const memory: {
  search_nodes(query: string): Promise<{ entities: Entity[] }>;
  create_entities(entities: readonly Entity[]): Promise<unknown>;
};
declare const notes: {
  list_directory(path: string): Promise<{ content: string }>;
  read_text_file(path: string): Promise<{ content: string }>;
};
declare const callTool: (server: string, tool: string, args: object) => Promise<unknown>;

const TYPE = "incident";

/** What a note is about, and its tasks that have no cross yet. */
function summarize(name: string, text: string): Entity {
  const title = /^# (.+)$/m.exec(text)?.[1] ?? name;
  const open = [...text.matchAll(/^- \[ \] (.+)$/gm)].map(([, task]) => `to do: ${task}`);
  return { name, entityType: TYPE, observations: [title, ...open] };
}

/** The code with which a change of a note is refused: the runtime may use what `notes` says is read-only, and nothing else of it. */
async function tryToWrite(): Promise<string> {
  try {
    await callTool("notes", "write_file", { path: "2026-11-20-login.md", content: "Nothing happened." });
    return "written";
  } catch (error) {
    return (error as { code: string }).code;
  }
}

const { entities: known } = await memory.search_nodes(TYPE);
const listing = (await notes.list_directory(".")).content;
const files = [...listing.matchAll(/^\[FILE\] (.+\.md)$/gm)].map(([, name]) => name ?? "").sort();
const missing = files.filter((file) => !known.some(({ name }) => name === file));
console.log(`${known.length} of ${files.length} notes are known`);

const added = await Promise.all(missing.map(async (file) => summarize(file, (await notes.read_text_file(file)).content)));
if (added.length > 0) await memory.create_entities(added);

const all = [...known, ...added];
export default {
  added: added.map(({ name }) => name),
  incidents: all.map(({ observations }) => observations[0]),
  toDo: all.flatMap(({ observations }) => observations).filter((text) => text.startsWith("to do: ")),
  changingANote: await tryToWrite(),
};
