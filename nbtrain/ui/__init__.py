"""Magics, panel and charts: the only layer that imports IPython, ipywidgets or Bokeh."""
