// BokehJS comes without the source maps that its files name.
module.exports = { ignoreWarnings: [/Failed to parse source map/] };
