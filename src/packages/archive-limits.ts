/** What an archive may be and become. */
export type ArchiveLimits = {
  archiveBytes: number;
  /** All files together, unpacked. */
  unpackedBytes: number;
  /** One file, unpacked. */
  fileBytes: number;
  /** Files and folders that the archive lists, and those that it implies. */
  entries: number;
  /** Parts of a path. */
  depth: number;
  /** One part of a path, and a whole path, in UTF-8. */
  nameBytes: number;
  pathBytes: number;
  /** How many bytes may come of one, in a file and in all; it does not count for what stays below `ratioFreeBytes`. */
  ratio: number;
  ratioFreeBytes: number;
};

export const ARCHIVE_LIMITS: ArchiveLimits = {
  archiveBytes: 50 * 1024 * 1024,
  unpackedBytes: 200 * 1024 * 1024,
  fileBytes: 100 * 1024 * 1024,
  entries: 10_000,
  depth: 32,
  nameBytes: 255,
  pathBytes: 1_024,
  ratio: 200,
  ratioFreeBytes: 1024 * 1024,
};
