"""From a call to its kernels: one way, in three steps.

    Problem      what a public function was asked, in terms of the records        problem
    Plan         all that follows from the layout of its arrays, cached           plan
    execute      arrays in, value and gradients out                               execute

``solve`` turns arguments of any kind into arrays first. Around these: which library's arrays they
are (``libraries``), how an array lies in memory (``layout``), what may be wrong with an argument
(``checks``), the order in which samples are visited (``passes``), how labels, weights and upstream
gradients are read (``per_sample``), rows of tables (``rows``, ``lookup``), and where kernels run
(``host``, ``device``). Nothing here knows a formula or a loop over components.
"""
