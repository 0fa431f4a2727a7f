"""The catalogue of error codes: `docs/errors.md` is made from it and from the places that raise them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One kind of fault: a title of a few words, and what it means and how it usually comes about."""

    title: str
    meaning: str


# 1xx data directories and lists   2xx audio          3xx tokens and dump directories   4xx weights and checkpoints
# 5xx numbers, decoding, scoring   6xx processes, locks, clusters   7xx hostile input   8xx settings and command lines
CODES: dict[str, Code] = {
    "E101": Code(
        "duplicate id",
        "An utterance or speaker stands twice in a table: two preparations were joined, or one was run twice with >>.",
    ),
    "E102": Code(
        "not sorted",
        "A table is not sorted by the bytes of its ids, as LC_ALL=C sort does; another locale sorts differently.",
    ),
    "E103": Code("ids differ", "Two tables of one directory do not hold the same utterances."),
    "E104": Code("id not allowed", "An id becomes a file name and a word in lists, so it must be harmless in both."),
    "E105": Code(
        "malformed table",
        "A line or a file is not of the form that a table has: `<id> <value>`, UTF-8, each line ended.",
    ),
    "E106": Code("table or directory missing", "Something that data preparation makes is not there."),
    "E107": Code("tables contradict each other", "Two tables of one directory cannot both be true."),
    "E108": Code(
        "too few sources",
        "A directory of single sources is too small, or its files too different, for what is asked.",
    ),
    "E109": Code("unknown or unusable field", "A model asks for a field that a directory does not have in that form."),
    "E110": Code(
        "unreadable audio files",
        "Files that a list names are missing, are folders, or may not be read. All of them are named (20 at most).",
    ),
    "E120": Code("stage not done", "A stage was asked for whose input another stage has not finished, or is damaged."),
    "E121": Code("input changed", "A finished result was made from a file that has changed since."),
    "E122": Code("manifest unreadable", "A manifest.json is cut, edited, or of another version."),
    "E123": Code(
        "too many utterances skipped",
        "More utterances than --max_skipped could not be used; of a test set none may be missing.",
    ),
    "E124": Code(
        "utterance lost",
        "What a stage was given is not what it made and what it lists in skipped.tsv, taken together.",
    ),
    "E125": Code(
        "left out by a filter",
        "Data preparation leaves an utterance out on purpose: too short, too long, no transcript, no speech.",
    ),
    "E126": Code(
        "corpus unusable",
        "The recordings that stage 0 starts from are missing, incomplete, or not the known ones.",
    ),
    "E127": Code(
        "result damaged",
        "A file of a finished result is missing, cut, changed, or does not agree with its description.",
    ),
    "E130": Code(
        "sets overlap",
        "The same utterance, recording or sentence is in two sets, so a test set is not unseen.",
    ),
    "E131": Code(
        "wrong use of a verb", "A verb of utils/ was called with an option or a number of words that it does not take."
    ),
    "E132": Code("malformed line", "A line of a list has too few or too many fields, or is blank."),
    "E133": Code("cannot be read", "A list does not exist, is a directory, or may not be read or written."),
    "E134": Code(
        "too many parts", "A list has fewer lines, or fewer speakers, than the parts that it is to be divided into."
    ),
    "E135": Code("not in the map", "An id or a word has no line in the table that it is looked up in."),
    "E136": Code(
        "not replaced", "A verb was to write where something lies that it did not make, or where it reads from."
    ),
    "E137": Code(
        "too much is lost", "Mending a data directory would drop more utterances than is allowed, or all of them."
    ),
    "E138": Code(
        "do not fit together", "Data directories cannot be combined: other speakers, or one id with two meanings."
    ),
    "E139": Code(
        "no such subset", "More utterances or speakers were asked for than there are, or none, or of an unknown length."
    ),
    "E140": Code(
        "segments", "A data directory whose utterances are parts of longer files; the stages read whole files."
    ),
    "E141": Code("empty transcript", "A reference transcript holds no words, so no error rate can be had from it."),
    "E142": Code("several sampling rates", "The audio files of one data directory are of several sampling rates."),
    "E143": Code("no sum", "Sources do not sum to their mixture, or one of them is silent."),
    "E144": Code("option of a script", "A recipe was given an option, a value or a word that it does not take."),
    "E201": Code(
        "not audio",
        "A file that a list names as audio is none: empty, a web page, noise, or of a format that is not read.",
    ),
    "E202": Code(
        "audio cut short",
        "A file holds fewer samples than its header or utt2num_samples says; libsndfile itself reads it silently.",
    ),
    "E203": Code("audio damaged", "A compressed file cannot be decoded to its end."),
    "E204": Code(
        "NaN or Inf in audio",
        "A float file holds values that are no numbers; written as 16-bit PCM they would become full scale.",
    ),
    "E211": Code("silent source", "A source of a mixture is digital silence: its level and SI-SDR are not defined."),
    "E220": Code(
        "number of channels",
        "A file has several channels where one is needed, or not the one that was asked for.",
    ),
    "E221": Code("sampling rate", "Files of one directory differ in their rate, or a rate cannot be."),
    "E230": Code("length", "A signal is empty, of another shape, or of a length that cannot be used."),
    "E231": Code(
        "mixture and sources differ",
        "The sources of a mixture are not as long as the mixture, or do not sum to it.",
    ),
    "E301": Code("token record cut", "An ark ends within a record: it was copied or written only in part."),
    "E302": Code(
        "token record damaged",
        "The bytes of a record are not those that were written (CRC-32), or its line in the .crc file is damaged.",
    ),
    "E303": Code(
        "tokens of another codec",
        "An ark was made by another codec, or by other weights, than what it is used with.",
    ),
    "E304": Code("wrong place in a token list", "An scp line points where its utterance does not start."),
    "E305": Code("codes out of range", "Ids, shape or length are not those of the codec, or not integers."),
    "E306": Code(
        "forbidden token record",
        "A record kind or a place that is not read: pickles, text, lossy compression, pipes.",
    ),
    "E307": Code("token list malformed", "An scp or crc file that is cut, or has a line of another form."),
    "E308": Code(
        "codec.json unusable",
        "The description of a codec is missing, is no JSON, or has other fields or values.",
    ),
    "E309": Code(
        "latents not finite",
        "A matrix of latents holds NaN or infinity: the codec made it so, or the file is not ours.",
    ),
    "E320": Code("disk full", "A file could not be written for want of space, quota, or a limit on file sizes."),
    "E330": Code(
        "codec contradicts itself",
        "A codec made codes of another shape, length or range than its codec.json says.",
    ),
    "E331": Code("piece of a signal", "A stream takes whole chunks of samples or codes; what is over waits."),
    "E340": Code(
        "model and codec do not fit",
        "The network of a configuration has another number or size of codebooks than the codec.",
    ),
    "E341": Code("utterance without sequence", "A model lays out sequences for some utterances and none for others."),
    "E343": Code("codec in a coarse type", "Codes are made in float32; in bfloat16 or float16 most of them change."),
    "E344": Code(
        "signal too long to encode at once",
        "A codec without a bound on its context cannot encode in chunks.",
    ),
    "E349": Code(
        "no such number of codebooks",
        "The weights of a codec hold fewer codebooks than its config asks for.",
    ),
    "E350": Code(
        "codec directory incomplete",
        "A codec directory lacks codec.json, its configuration or its weights, or they do not fit together.",
    ),
    "E351": Code("other codec weights", "The SHA-256 of a codec's weights is not the one that its codec.json names."),
    "E352": Code("unknown codec", "codec.json names a codec that is no file of codecsep/codecs."),
    "E353": Code("signal without samples", "An empty signal has no codes."),
    "E354": Code("unknown mixture encoder", "network.encoder.kind, or the size of WavLM, is none that exists."),
    "E355": Code(
        "WavLM weights unusable",
        "The weights of WavLM are missing, of another form, or need a package that is not installed.",
    ),
    "E356": Code(
        "codec cannot be exported",
        "The training of a codec is exported together with its delay, which is measured on speech: --data.",
    ),
    "E357": Code(
        "no sound in these codes",
        "Semantic units say what is spoken; no waveform can be made of them alone.",
    ),
    "E358": Code("codebooks not fitted", "k-means of a codec has too little speech, or its centres were not given."),
    "E359": Code(
        "weights not here",
        "Weights that have a name are not in the cache, or are not the pinned ones; nothing is fetched unasked.",
    ),
    "E401": Code(
        "checkpoint damaged",
        "A checkpoint is cut, changed or incomplete: an older one was taken, and some steps are made again.",
    ),
    "E402": Code("no whole checkpoint", "Every checkpoint of a training is damaged, or those to average are gone."),
    "E410": Code(
        "checkpoint not written",
        "A full disk, a quota or a permission; the training goes on with the earlier checkpoints (a warning).",
    ),
    "E411": Code("no checkpoint can be written", "Three in a row could not be written: the training ends."),
    "E412": Code("experiment not writable", "The directory of the checkpoints refused a first small file."),
    "E420": Code(
        "settings changed",
        "A training would go on with settings that change what it computes; each is listed as old -> new.",
    ),
    "E421": Code(
        "other number of processes or threads",
        "Sums run in another order then: the numbers would not be those of an uninterrupted training.",
    ),
    "E422": Code(
        "data changed",
        "The lists, the tokens or the initial weights of a training are not those that it began with.",
    ),
    "E430": Code("format of a checkpoint", "A checkpoint was written by another version of codecsep."),
    "E440": Code("weights do not fit", "Names or shapes in a file of weights are not those of the network."),
    "E441": Code("no trained network", "The weights of an experiment are missing or cannot be read."),
    "E501": Code(
        "numbers not finite",
        "Too many steps in a row, or in an epoch, gave NaN or Inf: a learning rate too high, or broken utterances.",
    ),
    "E502": Code("nothing to learn from", "An utterance without a frame of mixture or target: its loss would be NaN."),
    "E503": Code("unknown criterion", "train.criterion names no part of what validation measures."),
    "E504": Code("optimiser setting", "A value of `optim` is out of range."),
    "E505": Code("init or freeze", "An entry of `init` or `freeze` names a part or a file that is not there."),
    "E506": Code("model or its settings", "A model does not exist, or its settings contradict each other."),
    "E507": Code("sequence too long", "A sequence is longer than the table of positions that was trained."),
    "E508": Code("networks do not fit together", "Experiments of one system lack a part, or differ in their codec."),
    "E520": Code("out of memory", "Batches do not fit into memory, even in halves, or too often."),
    "E521": Code("job killed", "A job was killed by signal 9, mostly by the system for want of memory."),
    "E530": Code("decoding option", "A decoding option is out of range, or contradicts another one."),
    "E531": Code("no token to choose", "The network gave NaN: its weights or its input hold NaN."),
    "E532": Code("codes do not fit the codec", "The model gave codes or levels that the codec does not have."),
    "E533": Code("no estimate", "The model gave no speaker, or not one result per mixture."),
    "E534": Code("decoding did not end", "More mixtures than allowed were cut before the model had ended them."),
    "E535": Code("networks do not belong together", "Networks of different models were given for one system."),
    "E536": Code("recordings of one name", "Several recordings would be separated into files of the same name."),
    "E537": Code("no int8 products", "This build of torch, or this device, cannot multiply in int8 as was asked."),
    "E538": Code("tokens are not in chunks", "A prompt, a length or a window is no multiple of the network's chunk."),
    "E540": Code("references unusable", "A data directory lacks sources, or mixtures and sources differ in length."),
    "E541": Code("no estimates", "A directory that is to be scored holds no spk1.scp."),
    "E542": Code("estimates missing", "Utterances of the data have no estimate, or none of a lower speaker number."),
    "E543": Code("estimates too many", "A directory holds estimates of utterances that the data do not have."),
    "E544": Code("number of speakers", "More utterances than allowed have another number of estimates than speakers."),
    "E545": Code("scores unreadable", "A table of scores is cut, edited, or of another version."),
    "E546": Code("judge missing", "A judge that was asked for cannot be used: a package or its weights are missing."),
    "E547": Code("judge damaged", "The weights of a judge are not the pinned ones."),
    "E548": Code(
        "process died", "One of several processes of a stage was killed, often by the system for want of memory."
    ),
    "E549": Code("recipes of other data", "Systems whose recipes scored other mixtures cannot stand in one table."),
    "E550": Code("nothing to report", "The scores that a report is made of are not there."),
    "E601": Code("loader process died", "A process that reads utterances was killed or crashed; they are named."),
    "E602": Code("loader process hangs", "A process that reads utterances gave nothing for data.loader_timeout."),
    "E603": Code(
        "dataset broke off",
        "A dataset raised StopIteration or a KeyError: its tables do not agree, or it ends before it should.",
    ),
    "E604": Code("utterance cannot be read", "An utterance broke in the middle of a training; it is named."),
    "E605": Code("too many utterances left out", "More than 1 % of an epoch could not be read."),
    "E610": Code("process hangs", "A process of a distributed training did not answer within train.group_timeout."),
    "E611": Code("ranks out of step", "The processes of a training have different numbers of batches, or steps."),
    "E612": Code("process gone", "A process of a distributed training died; its own message says why."),
    "E613": Code("processes do not find each other", "No address is known, or some did not start."),
    "E620": Code("job failed", "A job ended with an error, was cancelled, or was lost with its node."),
    "E621": Code("job refused", "The cluster did not take a job."),
    "E622": Code("no cluster here", "The cluster's commands are not on this machine."),
    "E623": Code("job can never run", "A job waits for something that the cluster does not have."),
    "E630": Code("in use", "Another process writes into the same directory."),
    "E640": Code("job line", "A launcher (run.pl, slurm.pl ...) was called in a wrong way."),
    "E641": Code("cluster configuration", "conf/slurm.conf, conf/queue.conf or the like is missing or wrong."),
    "E642": Code("job option unknown", "A job line has an option that the cluster configuration does not describe."),
    "E643": Code("log not writable", "A log file, or the folder q beside it, could not be written."),
    "E646": Code("backend unknown", "CODECSEP_CMD_BACKEND names no way of starting jobs."),
    "E701": Code(
        "command where a file is expected",
        "A list names a command (pipe) instead of a file. Commands in data are never run.",
    ),
    "E702": Code(
        "code in a weight file",
        "A file of weights holds something other than tensors and plain values; it is not loaded.",
    ),
    "E703": Code(
        "malformed safetensors file",
        "The header of a safetensors file is too large, overlaps, or is no JSON.",
    ),
    "E704": Code(
        "forbidden YAML",
        "A YAML file with tags, class paths, doubled keys, too many aliases, too deep, or too large.",
    ),
    "E705": Code(
        "forbidden archive",
        "An archive with links, devices, paths outside, colliding names, or more than what was promised.",
    ),
    "E706": Code("download refused", "What a server sent is not what was pinned, or the address is not https."),
    "E707": Code("file too large", "A text or table is larger than anything of its kind should be."),
    "E801": Code("configuration unreadable", "A YAML file is missing, or is not valid YAML."),
    "E802": Code("unknown key", "A configuration sets something that does not exist; often a typing error."),
    "E803": Code("bad value", "A value in a configuration is not of the type or range of its key."),
    "E804": Code("bad command line", "An option that is not of the form `--key value`, or contradicts another."),
    "E805": Code("missing key", "A configuration lacks a key that it must have."),
    "E806": Code("unknown model", "The key `model` does not name a file of codecsep/models."),
    "E808": Code(
        "batches cannot be built",
        "The budget of a batch, the number of processes and the examples do not fit together.",
    ),
    "E850": Code("training setting", "A setting of a training is out of range or contradicts another."),
    "E851": Code("no data", "A training was not told its data, or they hold no example."),
    "E852": Code("--init without init", "--init fills in the entries of the key `init`, and there are none."),
    "E853": Code("launching", "bin/launch was not told how many processes to start, or of what."),
    "E855": Code("unknown option", "A command of stages 0 to 3 was given an option that it does not have."),
    "E856": Code("part of the work", "--job takes <i>/<n>: part i of n, counted from 1."),
    "E857": Code("nothing to verify", "No directory that was given holds a finished result."),
    "E860": Code("contradictory call", "Options of separate or score contradict each other, or are out of range."),
    "E861": Code("untrained system", "The experiments that separation needs are not there."),
    "E862": Code("system to score", "--hyp is not understood, or its name is taken."),
    "E863": Code("subcommand", "`codecsep <name>`: there is no such subcommand."),
    "E864": Code("benchmark", "A benchmark that does not exist, or a page without a place for its results."),
    "E901": Code("package missing", "An optional package is not installed, or does not load."),
    "E902": Code(
        "weights cannot be fetched",
        "A package that holds weights of a judge could not be downloaded, or is not the pinned one.",
    ),
    "E903": Code(
        "the system refused",
        "The operating system refused to read or write: a path is missing, not permitted, or a disk does not answer.",
    ),
    "W210": Code(
        "odd audio",
        "Clipped, offset, silent or very quiet audio that a data_report.tsv lists; nothing stops because of it.",
    ),
}
